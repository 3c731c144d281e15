/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The walk guest once more: the Makefile links it above the first GiB of its memory, whose rights it can change as a
 * whole then.
 */
#include "walk.c"

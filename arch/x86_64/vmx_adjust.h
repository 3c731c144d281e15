/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one place where a VMX control field meets its capability MSR. Called by vmx_caps.c; pure, so that it is
 * tested on the host.
 */
#pragma once

#include <stdint.h>

struct vmx_adjusted {
	uint32_t value;   /* to be written to the control field */
	uint32_t missing; /* bits that are indispensable and cannot be set */
};

/*
 * A control field for one capability MSR (SDM vol. 3D A.2 to A.5; A.3.3 for the secondary controls): `wanted`
 * must be there, `optional` is taken where it can be, what the CPU forces to 1 is added.
 */
static inline struct vmx_adjusted vmx_adjust(uint64_t capability, uint32_t wanted, uint32_t optional)
{
	uint32_t must_be_one = (uint32_t)capability;        /* "allowed 0-settings": a 1 here forces a 1 */
	uint32_t may_be_one = (uint32_t)(capability >> 32); /* "allowed 1-settings" */
	return (struct vmx_adjusted){
		.value = ((wanted | optional) & may_be_one) | must_be_one,
		.missing = wanted & ~may_be_one,
	};
}

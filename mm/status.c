/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names for mm/'s status codes, for logs and test reports.
 */
#include "lib/util.h"
#include "mm/types.h"

const char *mm_status_name(int status)
{
	static const char *const names[] = {
		[-MM_OK] = "MM_OK",         [-MM_EALIGN] = "MM_EALIGN", [-MM_EINVAL] = "MM_EINVAL",
		[-MM_ERANGE] = "MM_ERANGE", [-MM_EEXIST] = "MM_EEXIST", [-MM_EPERM] = "MM_EPERM",
		[-MM_ENOMEM] = "MM_ENOMEM", [-MM_EACCES] = "MM_EACCES", [-MM_EFAULT] = "MM_EFAULT",
		[-MM_ENOSPC] = "MM_ENOSPC",
	};

	if (status > 0 || status <= -(int)ARRAY_SIZE(names)) {
		return "MM_?";
	}
	return names[-status];
}

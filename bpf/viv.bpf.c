//go:build ignore
/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* viv's programs: a file of hooks for each family, with its LSM hooks. What they
 * share is in lib/, where no program is. */
#include "hooks/seed.h"
#include "hooks/syscall.h"
#include "hooks/proc.h"
#include "hooks/file.h"
#include "hooks/names.h"
#include "hooks/net.h"
#include "hooks/authority.h"
#include "hooks/markers.h"
#include "hooks/usdt.h"
#include "hooks/library.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

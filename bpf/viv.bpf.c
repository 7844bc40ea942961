//go:build ignore
/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* viv's programs, one file of hooks per family. */
#include "proc.h"
#include "file.h"
#include "net.h"
#include "authority.h"
#include "lsm.h"
#include "markers.h"
#include "usdt.h"
#include "library.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

package cmethod

import (
	velf "vivarium/pkg/probe/elf"
)

// Entry is where near the beginning of the function at addr a probe costs least
// (see elf.Entry), and how far below its value at addr the stack pointer is there,
// bytes. Nothing is done before it that can be seen from outside, and no jump
// leads there; nor is it one itself, at which the function can end. It is addr
// where there is no better one.
func (f *File) Entry(addr uint64) (at, depth uint64) {
	start, code, ok := f.function(addr)
	if !ok || start != addr {
		return addr, 0
	}
	off, depth := velf.Entry(code, false)
	at = addr + uint64(off)
	if at == addr {
		return addr, 0
	}
	better := true
	err := f.decode(start, code, func(i insn) {
		if to := i.target(); isJump(i.Op) && (to > addr && to <= at || i.at == at) {
			better = false
		}
	})
	if err != nil || !better {
		return addr, 0
	}
	return at, depth
}

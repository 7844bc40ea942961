package cmethod

import (
	"bytes"
	"errors"

	"golang.org/x/arch/x86/x86asm"
)

// Jumps returns the addresses of the jumps at which a thread has just set its
// stack pointer to what it was at an earlier place, to go on there, as
// __builtin_longjmp of gcc does: there exceptions, and whatever else ends
// functions without a return, leave them. Where a Ruby calls its C library's
// longjmp instead, there are none.
func (f *File) Jumps() ([]uint64, error) {
	var found []uint64
	seen := map[uint64]bool{}
	for _, s := range f.segments {
		if !s.code {
			continue
		}
		for at := 0; ; at++ {
			next := bytes.IndexByte(s.data[at:], 0x8b)
			if next < 0 || at+next+1 >= len(s.data) {
				break
			}
			at += next
			// REX.W mov into register 4, from memory
			if m := s.data[at+1]; m>>3&7 != 4 || m>>6 == 3 || at == 0 || s.data[at-1]&^0x03 != 0x48 {
				continue
			}
			start, code, ok := f.function(s.addr + uint64(at) - 1)
			if !ok || seen[start] {
				continue
			}
			seen[start] = true
			set := false // the stack pointer, since the last branch
			err := f.decode(start, code, func(i insn) {
				switch {
				case i.Op == x86asm.MOV && i.Args[0] == x86asm.RSP:
					_, set = i.Args[1].(x86asm.Mem)
				case i.Op == x86asm.JMP && i.target() == 0 && set:
					found = append(found, i.at)
					set = false
				case isJump(i.Op), i.Op == x86asm.CALL, i.Op == x86asm.RET:
					set = false
				}
			})
			if err != nil && !errors.Is(err, ErrBlind) { // one that cannot be read has none
				return nil, err
			}
		}
	}
	return found, nil
}

package elf

import (
	"debug/elf"
	"encoding/binary"
	"io"

	"golang.org/x/arch/x86/x86asm"
)

// Returned is the address that a function returns which does nothing else: code is
// its beginning, at off in the file.
func Returned(f *elf.File, off uint64, code []byte) (uint64, bool) {
	var at int
	for range 4 {
		i, err := Decode(code[at:])
		if err != nil {
			return 0, false
		}
		at += i.Len
		switch i.Op {
		case x86asm.NOP:
		case x86asm.LEA:
			m, ok := i.Args[1].(x86asm.Mem)
			if !ok || i.Args[0] != x86asm.RAX || m.Base != x86asm.RIP || m.Index != 0 {
				return 0, false
			}
			addr, ok := address(f, off)
			return addr + uint64(at) + uint64(m.Disp), ok
		case x86asm.MOV: // of a program at a fixed address
			imm, ok := i.Args[1].(x86asm.Imm)
			return uint64(imm), ok && (i.Args[0] == x86asm.EAX || i.Args[0] == x86asm.RAX)
		default:
			return 0, false
		}
	}
	return 0, false
}

// address is where what is at off in the file lies when it is loaded, from the
// beginning of the object on.
func address(f *elf.File, off uint64) (uint64, bool) {
	for _, p := range f.Progs {
		if p.Type == elf.PT_LOAD && off >= p.Off && off-p.Off < p.Filesz {
			return p.Vaddr + off - p.Off, true
		}
	}
	return 0, false
}

// Pointer is the address that the object has at an address of its own when it is
// loaded, if it is one in the object itself.
func Pointer(f *elf.File, at uint64) (uint64, bool) {
	const size = 24 // struct Elf64_Rela
	for _, s := range f.Sections {
		if s.Type != elf.SHT_RELA {
			continue
		}
		var chunk [2048 * size]byte
		for r := stream(s); ; {
			n, err := io.ReadFull(r, chunk[:])
			for rel := chunk[:n]; len(rel) >= size; rel = rel[size:] {
				if binary.LittleEndian.Uint64(rel) == at && elf.R_X86_64(binary.LittleEndian.Uint64(rel[8:])) == elf.R_X86_64_RELATIVE {
					return binary.LittleEndian.Uint64(rel[16:]), true
				}
			}
			if err != nil {
				break
			}
		}
	}
	v, ok := Word(f, at)
	return v, ok && v != 0
}

// Word is what the file has at an address, 8 bytes.
func Word(f *elf.File, at uint64) (uint64, bool) {
	for _, p := range f.Progs {
		if p.Type == elf.PT_LOAD && at >= p.Vaddr && at-p.Vaddr < p.Filesz {
			var b [8]byte
			if _, err := p.ReadAt(b[:], int64(at-p.Vaddr)); err != nil {
				return 0, false
			}
			return binary.LittleEndian.Uint64(b[:]), true
		}
	}
	return 0, false
}

package elf

import (
	"bufio"
	"debug/elf"
	"encoding/binary"
	"io"
	"strings"
)

// QuietPlaces are places in a file's code, bytes from its beginning, where an
// instruction begins that is probably never executed again when a process runs:
// best first, and none of those that are taken.
func QuietPlaces(f *elf.File, taken []uint64) []uint64 {
	const most = 64
	var places []uint64
	used := map[uint64]bool{}
	for _, at := range taken {
		used[at] = true
	}
	add := func(addr uint64) {
		if at, ok := Offset(f, addr); ok && !used[at] && len(places) < most {
			used[at] = true
			places = append(places, at)
		}
	}
	if f.Entry != 0 {
		add(f.Entry)
	}
	for _, name := range []string{".init", ".fini"} {
		if s := f.Section(name); s != nil && s.Type == elf.SHT_PROGBITS {
			add(s.Addr)
		}
	}
	for _, addr := range maybeInit(f) { // what initialises runs once
		add(addr)
	}
	return places
}

// maybeInit lists the first functions of a file that have init in their name,
// then others: addresses.
func maybeInit(f *elf.File) []uint64 {
	const most = 64       // of each
	const maxLook = 16384 // symbols of a table
	const size = 24       // struct Elf64_Sym
	var inits, others []uint64
	for _, typ := range []elf.SectionType{elf.SHT_DYNSYM, elf.SHT_SYMTAB} {
		table := f.SectionByType(typ)
		if table == nil || int(table.Link) >= len(f.Sections) || table.Type == elf.SHT_NOBITS {
			continue
		}
		symbols := bufio.NewReader(stream(table))
		var sym [size]byte
		for range maxLook {
			if _, err := io.ReadFull(symbols, sym[:]); err != nil || len(inits) == most {
				break
			}
			addr := binary.LittleEndian.Uint64(sym[8:])
			if elf.ST_TYPE(sym[4]) != elf.STT_FUNC || binary.LittleEndian.Uint16(sym[6:]) == 0 || addr == 0 {
				continue
			}
			name := Text(f.Sections[table.Link], binary.LittleEndian.Uint32(sym[:]), 64)
			if strings.Contains(strings.ToLower(name), "init") {
				inits = append(inits, addr)
			} else if len(others) < most {
				others = append(others, addr)
			}
		}
	}
	return append(inits, others...)
}

package elf

import (
	"debug/elf"
	"encoding/binary"
	"io"
	"slices"
)

// DynamicTexts are texts of the dynamic section: what it has under each tag, the
// first of them.
func DynamicTexts(f *elf.File, tags ...elf.DynTag) []string {
	const most = 64
	ds := f.SectionByType(elf.SHT_DYNAMIC)
	if ds == nil || int(ds.Link) >= len(f.Sections) {
		return nil
	}
	d, err := io.ReadAll(io.LimitReader(stream(ds), 64<<10))
	if err != nil {
		return nil
	}
	var all []string
	for ; len(d) >= 16 && len(all) < most; d = d[16:] { // struct Elf64_Dyn
		if tag := binary.LittleEndian.Uint64(d); slices.Contains(tags, elf.DynTag(tag)) {
			all = append(all, Text(f.Sections[ds.Link], binary.LittleEndian.Uint32(d[8:]), 4096))
		}
	}
	return all
}

// Interpreter is the path of the loader that the file asks for; "": none.
func Interpreter(f *elf.File) string {
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP && p.Filesz < 4096 {
			b, err := io.ReadAll(p.Open())
			if err == nil {
				return string(CString(b))
			}
		}
	}
	return ""
}

package elf

import (
	"os"
	"testing"
)

// TestReturned: the address that a function returns, in its forms.
func TestReturned(t *testing.T) {
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer self.Close()
	f, err := Open(self)
	if err != nil {
		t.Fatal(err)
	}
	var off, addr uint64
	for _, p := range f.Progs {
		if p.Flags&1 != 0 && p.Filesz > 0 && addr == 0 {
			off, addr = p.Off, p.Vaddr
		}
	}
	for name, c := range map[string]struct {
		code string
		want uint64 // 0: none
	}{
		"lea":           {"\x48\x8d\x05\x10\x00\x00\x00\xc3", addr + 7 + 16},
		"endbr64, lea":  {"\xf3\x0f\x1e\xfa\x48\x8d\x05\xf0\xff\xff\xff\xc3", addr + 11 - 16},
		"mov":           {"\xb8\x40\x30\x20\x10\xc3", 0x10203040},
		"another":       {"\x48\x8d\x3d\x10\x00\x00\x00\xc3", 0},
		"with an index": {"\x48\x8d\x04\x37\xc3", 0},
		"nothing":       {"\xc3", 0},
		"cut":           {"\x48\x8d\x05", 0},
		"only nops":     {"\x90\x90\x90\x90\x90\x90", 0},
	} {
		t.Run(name, func(t *testing.T) {
			got, ok := Returned(f, off, []byte(c.code))
			if ok != (c.want != 0) || ok && got != c.want {
				t.Errorf("%#x %v, want %#x", got, ok, c.want)
			}
		})
	}
	if _, ok := Word(f, 1<<62); ok {
		t.Error("a word where nothing is")
	}
	if v, ok := Pointer(f, addr); !ok || v == 0 {
		t.Error("no pointer in the code, which has bytes")
	}
}

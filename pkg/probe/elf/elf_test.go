package elf

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// TestFunctions: names are found wherever the buffers end, also as the end of a
// longer name.
func TestFunctions(t *testing.T) {
	names := map[string]bool{"getenv": true, "secure_getenv": true}
	for pad := range 200 {
		// The table is 3 symbols, the first of them nobody's.
		names64 := append([]byte{0}, bytes.Repeat([]byte{'x'}, 64<<10-100+pad)...)
		names64 = append(append(names64, 0), "secure_getenv\x00xgetenvx\x00"...)
		at := uint32(bytes.Index(names64, []byte("secure")))
		file := elfFile(names64, []uint32{0, at, at + 7}, 3)
		f, err := Open(bytes.NewReader(file))
		if err != nil {
			t.Fatal(err)
		}
		got, err := Functions(f, names)
		if err != nil || len(got) != 2 || got["secure_getenv"] != 0x101 || got["getenv"] != 0x102 {
			t.Fatalf("with %d bytes in front: %v, %v", pad, got, err)
		}
	}
}

// elfFile is a library whose symbols have these names, and claim n of them.
func elfFile(text []byte, symbols []uint32, n uint64) []byte {
	b := make([]byte, 64+56+24*len(symbols))
	le := binary.LittleEndian
	copy(b, "\x7fELF\x02\x01\x01")
	le.PutUint16(b[16:], 3)  // ET_DYN
	le.PutUint16(b[18:], 62) // x86-64
	le.PutUint32(b[20:], 1)
	le.PutUint64(b[32:], 64) // program headers
	le.PutUint16(b[52:], 64)
	le.PutUint16(b[54:], 56)
	le.PutUint16(b[56:], 1)
	le.PutUint16(b[58:], 64)
	le.PutUint16(b[60:], 3)
	le.PutUint16(b[62:], 2)
	le.PutUint32(b[64:], 1) // PT_LOAD, r-x, all of the file
	le.PutUint32(b[68:], 5)
	le.PutUint64(b[96:], 1<<20)
	le.PutUint64(b[104:], 1<<20)
	for i, name := range symbols {
		sym := b[120+24*i:]
		le.PutUint32(sym, name)
		sym[4] = 2 // STT_FUNC
		le.PutUint16(sym[6:], 1)
		le.PutUint64(sym[8:], 0x100+uint64(i))
	}
	texts := len(b)
	b = append(b, text...)
	le.PutUint64(b[40:], uint64(len(b))) // section headers
	section := func(typ uint32, off, size uint64, link uint32) {
		s := make([]byte, 64)
		le.PutUint32(s[4:], typ)
		le.PutUint64(s[24:], off)
		le.PutUint64(s[32:], size)
		le.PutUint32(s[40:], link)
		le.PutUint64(s[56:], 24)
		b = append(b, s...)
	}
	section(0, 0, 0, 0)
	section(11, 120, 24*n, 2) // SHT_DYNSYM
	section(3, uint64(texts), uint64(len(text)), 0)
	return b
}

// TestDynamicTexts: of a library that says that it needs very many others, each
// with a very long name, only some is read.
func TestDynamicTexts(t *testing.T) {
	file := elfFile(append([]byte{0}, bytes.Repeat([]byte("x"), 1<<19)...), make([]uint32, 30_000), 1<<20)
	headers := binary.LittleEndian.Uint64(file[40:])
	binary.LittleEndian.PutUint32(file[headers+64+4:], uint32(elf.SHT_DYNAMIC))
	entries := file[120 : 120+24*30_000]
	for i := 0; i+16 <= len(entries); i += 16 {
		binary.LittleEndian.PutUint64(entries[i:], uint64(elf.DT_NEEDED))
		binary.LittleEndian.PutUint64(entries[i+8:], uint64(i+1))
	}
	f, err := Open(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	all := DynamicTexts(f, elf.DT_NEEDED)
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > 2<<20 {
		t.Errorf("%d bytes were allocated", n)
	}
	if len(all) != 64 || len(all[1]) != 4096 {
		t.Errorf("%d texts, the second of %d bytes", len(all), len(all[1]))
	}
	self, err := os.Open("/bin/bash")
	if err != nil {
		t.Fatal(err)
	}
	defer self.Close()
	if f, err = Open(self); err != nil {
		t.Fatal(err)
	}
	if all := DynamicTexts(f, elf.DT_NEEDED); !strings.Contains(strings.Join(all, " "), "libc.so") {
		t.Errorf("bash needs %q", all)
	}
}

// TestFunctionsBound: a file that claims to have very much is read without much
// memory.
func TestFunctionsBound(t *testing.T) {
	text := []byte("\x00getenv\x00")
	path := filepath.Join(t.TempDir(), "sparse")
	read := func(file []byte, size int64) (map[string]uint64, error) {
		if err := os.WriteFile(path, file, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(path, size); err != nil {
			t.Fatal(err)
		}
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		e, err := Open(f)
		var got map[string]uint64
		if err == nil {
			got, err = Functions(e, map[string]bool{"getenv": true})
		}
		runtime.ReadMemStats(&after)
		if n := after.TotalAlloc - before.TotalAlloc; n > 4<<20 {
			t.Errorf("%d bytes were allocated", n)
		}
		return got, err
	}
	if got, err := read(elfFile(text, []uint32{0, 1}, maxSymbols/24), 1<<30); err != nil || len(got) != 1 {
		t.Errorf("many symbols: %v, %v", got, err)
	}
	file := elfFile(text, []uint32{0, 1}, 2)
	headers := binary.LittleEndian.Uint64(file[40:])
	binary.LittleEndian.PutUint64(file[headers+2*64+32:], 1<<34) // the names of sections, too
	if _, err := read(file, 1<<35); err == nil {
		t.Error("names of sections of 16 GiB are read")
	}
	file = elfFile(text, []uint32{0, 1}, 2)
	binary.LittleEndian.PutUint16(file[60:], 0)
	binary.LittleEndian.PutUint64(file[headers+32:], 1<<28)
	if _, err := read(file, 1<<35); err == nil {
		t.Error("2^28 sections are read")
	}
	for what, at := range map[string]int{"program headers": 54, "section headers": 58} {
		file = elfFile(text, []uint32{0, 1}, 2)
		binary.LittleEndian.PutUint16(file[at:], 0xffff) // bytes of each
		if _, err := read(file, 1<<35); err == nil {
			t.Errorf("%s of 65,535 bytes are read", what)
		}
	}
	file = elfFile(text, []uint32{0, 1}, 2)
	binary.LittleEndian.PutUint16(file[56:], 0xffff)
	if _, err := read(file, 1<<35); err == nil {
		t.Error("65,535 program headers are read")
	}
}

func TestEntry(t *testing.T) {
	for _, c := range []struct {
		name, code string
		want       uint64
	}{
		{"push", "\x41\x57\x41\x56\x90\x90\x90\x90", 0},
		{"SSL_write_ex of OpenSSL 3.0", "\x48\x83\xec\x08\xe8\x87\xfb\xff\xff\x85\xc0", 4},
		{"SSL_write of OpenSSL 3.0", "\x48\x83\xec\x18\x64\x48\x8b\x04\x25\x28\x00\x00\x00\x48\x89\x44\x24\x08\x31\xc0\x85\xd2\x78\x2a\x90\x90\x90\x90", 22},
		{"endbr64 and push", "\xf3\x0f\x1e\xfa\x55\x48\x89\xe5\x90\x90", 4},
		{"an argument is moved first", "\x48\x89\xf7\x55\x90\x90\x90\x90", 0},
		{"something behind harmless ones", "\x48\x83\xec\x08\x48\x89\xf7\x55\x90\x90\x90", 0},
		{"too short", "\x48\x83\xec\x08", 0},
		{"nothing", "", 0},
	} {
		if got, _ := Entry([]byte(c.code), true); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}

// FuzzELF: whatever is in a file, reading it ends, with little memory.
func FuzzELF(f *testing.F) {
	f.Add(elfFile([]byte("\x00getenv\x00"), []uint32{0, 1}, 2))
	dynamic := elfFile([]byte("\x00libc.so\x00"), []uint32{1, 0, 0, 1}, 4)
	dynamic[binary.LittleEndian.Uint64(dynamic[40:])+64+4] = byte(elf.SHT_DYNAMIC)
	f.Add(dynamic)
	f.Fuzz(func(t *testing.T, file []byte) {
		e, err := Open(bytes.NewReader(file))
		if err != nil {
			return
		}
		found, _ := Functions(e, map[string]bool{"getenv": true, "SSL_write": true}) // it may fail
		for name := range found {
			if name != "getenv" && name != "SSL_write" {
				t.Errorf("found %q", name)
			}
		}
		if all := DynamicTexts(e, elf.DT_NEEDED); len(all) > 64 {
			t.Errorf("%d texts", len(all))
		}
		if p := QuietPlaces(e, nil); len(p) > 64 {
			t.Errorf("%d places", len(p))
		}
		Interpreter(e)
	})
}

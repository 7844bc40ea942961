package usdt

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	bx = 40
	ax = 80
	si = 104
	di = 112
	sp = 152
)

func TestOperands(t *testing.T) {
	n := NoReg
	for _, tt := range []struct {
		arch, in string
		want     Arg // zero: refused
	}{
		{"x86", "8@%rdi", Arg{Kind: Reg, Size: 8, Base: di, Index: n}},
		{"x86", "-4@%eax", Arg{Kind: Reg, Size: 4, Signed: true, Base: ax, Index: n}},
		{"x86", "8@%eax", Arg{Kind: Reg, Size: 4, Base: ax, Index: n}},
		{"x86", "1@%al", Arg{Kind: Reg, Size: 1, Base: ax, Index: n}},
		{"x86", "1@%bh", Arg{Kind: Reg, Size: 1, Shift: 8, Base: bx, Index: n}},
		{"x86", "1@%sil", Arg{Kind: Reg, Size: 1, Base: si, Index: n}},
		{"x86", "2@%r8w", Arg{Kind: Reg, Size: 2, Base: 72, Index: n}},
		{"x86", "4@%r15d", Arg{Kind: Reg, Size: 4, Base: 0, Index: n}},
		{"x86", "1@%r9b", Arg{Kind: Reg, Size: 1, Base: 64, Index: n}},
		{"x86", "%rsp", Arg{Kind: Reg, Size: 8, Base: sp, Index: n}},
		{"x86", "-4@$-9", Arg{Kind: Const, Size: 4, Signed: true, Base: n, Index: n, Value: -9}},
		{"x86", "8@$0x10", Arg{Kind: Const, Size: 8, Base: n, Index: n, Value: 16}},
		{"x86", "8@$18446744073709551615", Arg{Kind: Const, Size: 8, Base: n, Index: n, Value: -1}},
		{"x86", "8@(%rsp)", Arg{Kind: Mem, Size: 8, Base: sp, Index: n}},
		{"x86", "-4@100(%rsp)", Arg{Kind: Mem, Size: 4, Signed: true, Base: sp, Index: n, Value: 100}},
		{"x86", "8@-320(%rbp)", Arg{Kind: Mem, Size: 8, Base: 32, Index: n, Value: -320}},
		{"x86", "8@8(%rax,%rbx,4)", Arg{Kind: Mem, Size: 8, Base: ax, Index: bx, Scale: 4, Value: 8}},
		{"x86", "8@(%rax,%rbx)", Arg{Kind: Mem, Size: 8, Base: ax, Index: bx, Scale: 1}},
		{"x86", "2@-0x8(,%r9,8)", Arg{Kind: Mem, Size: 2, Base: n, Index: 64, Scale: 8, Value: -8}},
		{"x86", "8@", Arg{}},
		{"x86", "", Arg{}},
		{"x86", "3@%rax", Arg{}},
		{"x86", "8f@%xmm0", Arg{}},
		{"x86", "8@%xmm0", Arg{}},
		{"x86", "8@%rip", Arg{}},
		{"x86", "4@counter(%rip)", Arg{}},
		{"x86", "4@8+counter(%rip)", Arg{}},
		{"x86", "4@4(%rip)", Arg{}},
		{"x86", "8@(%eax)", Arg{}},
		{"x86", "8@8(%rax,%rbx,3)", Arg{}},
		{"x86", "8@8(%rax,%rbx,4,5)", Arg{}},
		{"x86", "8@8(%rax", Arg{}},
		{"x86", "8@()", Arg{}},
		{"x86", "8@$", Arg{}},
		{"x86", "8@$x", Arg{}},
		{"x86", "8@[sp]", Arg{}},
		{"arm64", "8@x0", Arg{Kind: Reg, Size: 8, Base: 0, Index: n}},
		{"arm64", "-4@w19", Arg{Kind: Reg, Size: 4, Signed: true, Base: 152, Index: n}},
		{"arm64", "8@w1", Arg{Kind: Reg, Size: 4, Base: 8, Index: n}},
		{"arm64", "8@x30", Arg{Kind: Reg, Size: 8, Base: 240, Index: n}},
		{"arm64", "8@sp", Arg{Kind: Reg, Size: 8, Base: 248, Index: n}},
		{"arm64", "-4@5", Arg{Kind: Const, Size: 4, Signed: true, Base: n, Index: n, Value: 5}},
		{"arm64", "-4@-5", Arg{Kind: Const, Size: 4, Signed: true, Base: n, Index: n, Value: -5}},
		{"arm64", "8@[sp]", Arg{Kind: Mem, Size: 8, Base: 248, Index: n}},
		{"arm64", "-4@[sp, 36]", Arg{Kind: Mem, Size: 4, Signed: true, Base: 248, Index: n, Value: 36}},
		{"arm64", "8@[x29, #-16]", Arg{Kind: Mem, Size: 8, Base: 232, Index: n, Value: -16}},
		{"arm64", "8@[x0,x1]", Arg{Kind: Mem, Size: 8, Base: 0, Index: 8, Scale: 1}},
		{"arm64", "8@[x0, x1, lsl 3]", Arg{Kind: Mem, Size: 8, Base: 0, Index: 8, Scale: 8}},
		{"arm64", "4@[x2, x3, lsl #2]", Arg{Kind: Mem, Size: 4, Base: 16, Index: 24, Scale: 4}},
		{"arm64", "-8@xzr", Arg{Kind: Const, Size: 8, Signed: true, Base: n, Index: n}},
		{"arm64", "4@wzr", Arg{Kind: Const, Size: 4, Base: n, Index: n}},
		{"arm64", "8@[x0, x1, lsl 4]", Arg{}},
		{"arm64", "8@[x0, x1, 3]", Arg{}},
		{"arm64", "8@[x0, w1, sxtw 3]", Arg{}},
		{"arm64", "8@[x0, 8, lsl 3]", Arg{}},
		{"arm64", "8@[x0, sp]", Arg{}},
		{"arm64", "8@[xzr]", Arg{}},
		{"arm64", "8@[x0, #:lo12:counter]", Arg{}},
		{"arm64", "8@s0", Arg{}},
		{"arm64", "8@x31", Arg{}},
		{"arm64", "8@x007", Arg{}},
		{"arm64", "8@v0", Arg{}},
		{"arm64", "8@[w0]", Arg{}},
		{"arm64", "8@[x0, w1]", Arg{}},
		{"arm64", "8@[sp, 36", Arg{}},
		{"arm64", "8@[sp, ]", Arg{}},
		{"arm64", "8@%rax", Arg{}},
	} {
		parse := ParseX86
		if tt.arch == "arm64" {
			parse = ParseARM64
		}
		got, err := parse(tt.in)
		if (err != nil) != (tt.want == Arg{}) || got != tt.want {
			t.Errorf("%s %q: %+v, %v; want %+v", tt.arch, tt.in, got, err, tt.want)
		}
	}
}

func TestSplitOperands(t *testing.T) {
	for in, want := range map[string][]string{
		"":                               nil,
		" 8@%rax  -4@$1 ":                {"8@%rax", "-4@$1"},
		"8@[sp, 8] -4@[sp, 36] 8@x0":     {"8@[sp, 8]", "-4@[sp, 36]", "8@x0"},
		"8@8(%rax, %rbx, 4) 8@(%rsp) 1@": {"8@8(%rax, %rbx, 4)", "8@(%rsp)", "1@"},
		"8@[x0, x1, lsl 3] 4@wzr":        {"8@[x0, x1, lsl 3]", "4@wzr"},
		strings.Repeat("8@$1 ", 20):      slices.Repeat([]string{"8@$1"}, MaxArgs),
	} {
		if diff := cmp.Diff(want, splitOperands(in)); diff != "" {
			t.Errorf("%q: %s", in, diff)
		}
	}
}

// image is a small ELF file: one segment of code at 0x1000 (file 0x200), one of
// data at 0x5000 (file 0x300), the base section at 0x1080, and the notes.
func image(machine elf.Machine, notes []byte) []byte {
	var b bytes.Buffer
	put := func(v any) { binary.Write(&b, binary.LittleEndian, v) }
	names := "\x00.note.stapsdt\x00.stapsdt.base\x00.shstrtab\x00"
	const notesAt = 0x400
	namesAt := notesAt + len(notes)
	shoff := uint64(namesAt + len(names))
	put(elf.Header64{
		Ident: [16]byte{0x7f, 'E', 'L', 'F', 2, 1, 1}, Type: uint16(elf.ET_DYN), Machine: uint16(machine), Version: 1,
		Phoff: 64, Shoff: shoff, Ehsize: 64, Phentsize: 56, Phnum: 2, Shentsize: 64, Shnum: 4, Shstrndx: 3,
	})
	put(elf.Prog64{Type: uint32(elf.PT_LOAD), Flags: uint32(elf.PF_R | elf.PF_X), Off: 0x200, Vaddr: 0x1000, Filesz: 0x100, Memsz: 0x100})
	put(elf.Prog64{Type: uint32(elf.PT_LOAD), Flags: uint32(elf.PF_R | elf.PF_W), Off: 0x300, Vaddr: 0x5000, Filesz: 0x100, Memsz: 0x100})
	b.Write(make([]byte, notesAt-b.Len()))
	b.Write(notes)
	b.WriteString(names)
	put(elf.Section64{})
	put(elf.Section64{Name: 1, Type: uint32(elf.SHT_NOTE), Off: notesAt, Size: uint64(len(notes)), Addralign: 4})
	put(elf.Section64{Name: 15, Type: uint32(elf.SHT_PROGBITS), Addr: 0x1080, Off: 0x280, Size: 1, Addralign: 1})
	put(elf.Section64{Name: 29, Type: uint32(elf.SHT_STRTAB), Off: uint64(namesAt), Size: uint64(len(names)), Addralign: 1})
	return b.Bytes()
}

func makeNote(owner string, typ uint32, pc, base, semaphore uint64, texts string) []byte {
	desc := binary.LittleEndian.AppendUint64(nil, pc)
	desc = binary.LittleEndian.AppendUint64(desc, base)
	desc = binary.LittleEndian.AppendUint64(desc, semaphore)
	desc = append(desc, texts...)
	pad := func(b []byte) []byte { return append(b, make([]byte, -len(b)&3)...) }
	var n []byte
	for _, v := range []uint32{uint32(len(owner)), uint32(len(desc)), typ} {
		n = binary.LittleEndian.AppendUint32(n, v)
	}
	return append(append(n, pad([]byte(owner))...), pad(desc)...)
}

func all(string) bool { return true }

func read(file []byte, want func(string) bool) ([]Site, error) {
	f, err := elf.NewFile(bytes.NewReader(file))
	if err != nil {
		return nil, err
	}
	return Read(f, want)
}

func TestRead(t *testing.T) {
	const owner = "stapsdt\x00"
	notes := makeNote(owner, 3, 0x1010, 0x1080, 0x5004, "app\x00start\x008@%rdi -4@$3\x00")
	notes = append(notes, makeNote(owner, 3, 0x1020, 0x1080, 0, "app\x00start\x00\x00")...)
	notes = append(notes, makeNote("GNU\x00", 3, 1, 2, 3, "x\x00y\x00z\x00")...)
	// What prelink moved by 0x1000 since the note was written.
	notes = append(notes, makeNote(owner, 3, 0x30, 0x80, 0x4008, "app\x00stop\x008@x(%rip) 8@(%rsp)\x00")...)
	notes = append(notes, makeNote(owner, 3, 0x1040, 0x1080, 0, "other\x00stop\x00\x00")...)
	// Outside the code, outside the data, and so far away that the sum wraps.
	notes = append(notes, makeNote(owner, 3, 0x5010, 0x1080, 0, "app\x00gone\x00\x00")...)
	notes = append(notes, makeNote(owner, 3, 0x1010, 0x1080, 0x1010, "app\x00gone\x00\x00")...)
	notes = append(notes, makeNote(owner, 3, 0x1010, 0x1, 0, "app\x00gone\x00\x00")...)
	got, err := read(image(elf.EM_X86_64, notes), func(p string) bool { return p == "app" })
	if err != nil {
		t.Fatal(err)
	}
	want := []Site{
		{"app", "start", 0x210, 0x304, []Arg{
			{Kind: Reg, Size: 8, Base: di, Index: NoReg},
			{Kind: Const, Size: 4, Signed: true, Base: NoReg, Index: NoReg, Value: 3},
		}},
		{"app", "start", 0x220, 0, nil},
		{"app", "stop", 0x230, 0x308, []Arg{{}, {Kind: Mem, Size: 8, Base: sp, Index: NoReg}}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if sites, err := read(image(elf.EM_AARCH64, makeNote(owner, 3, 0x1010, 0x1080, 0, "a\x00b\x008@[sp, 8]\x00")), all); err != nil ||
		len(sites) != 1 || sites[0].Args[0].Base != 248 {
		t.Errorf("arm64: %+v, %v", sites, err)
	}
}

func TestReadBroken(t *testing.T) {
	const owner = "stapsdt\x00"
	good := makeNote(owner, 3, 0x1010, 0x1080, 0x5004, "app\x00start\x008@%rdi\x00")
	for name, file := range map[string][]byte{
		"another machine": image(elf.EM_RISCV, good),
		"a cut note":      image(elf.EM_X86_64, good[:len(good)-9]),
		"a cut header":    image(elf.EM_X86_64, append(bytes.Clone(good), 1, 2, 3)),
		"a huge size":     image(elf.EM_X86_64, append(bytes.Clone(good), 255, 255, 255, 255, 255, 255, 255, 255, 3, 0, 0, 0)),
		"no names":        image(elf.EM_X86_64, makeNote(owner, 3, 0x1010, 0x1080, 0, "")),
		"a short note":    image(elf.EM_X86_64, append([]byte{8, 0, 0, 0, 4, 0, 0, 0, 3, 0, 0, 0}, owner+"abcd"...)),
		"a long text":     image(elf.EM_X86_64, makeNote(owner, 3, 0x1010, 0x1080, 0, "a\x00b\x00"+strings.Repeat("8@$1 ", 1000)+"\x00")),
		"many sites":      image(elf.EM_X86_64, bytes.Repeat(makeNote(owner, 3, 0x1010, 0x1080, 0, "a\x00b\x00\x00"), MaxSites+1)),
		"many bytes":      image(elf.EM_X86_64, make([]byte, MaxNotes+12)),
	} {
		if sites, err := read(file, all); sites != nil || !errors.Is(err, ErrFormat) {
			t.Errorf("%s: %d sites, %v", name, len(sites), err)
		}
	}
}

// TestReadBound: as many notes as a file may have, each with as much in it as a
// note may have, cost no more than some tens of megabytes.
func TestReadBound(t *testing.T) {
	const owner = "stapsdt\x00"
	for name, n := range map[string][]byte{
		"of nobody": {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0},
		"of others": makeNote(owner, 3, 0x1010, 0x1080, 0, "x\x00\x00\x00"),
		"of dead":   makeNote(owner, 3, 0, 0x1080, 0, "app\x00b\x00\x00"),
		"of sites":  makeNote(owner, 3, 0x1010, 0x1080, 0, "app\x00b\x00"+strings.Repeat("8@$1 ", MaxArgs)+strings.Repeat(" ", 160)+"\x00"),
	} {
		file := image(elf.EM_X86_64, bytes.Repeat(n, MaxNotes/len(n)))
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := read(file, func(p string) bool { return p == "app" })
		runtime.ReadMemStats(&after)
		if got := after.TotalAlloc - before.TotalAlloc; err != nil || got > 256<<20 {
			t.Errorf("notes %s: %d MiB were allocated, %v", name, got>>20, err)
		}
	}
}

// TestReadSelf: most files have no probes.
func TestReadSelf(t *testing.T) {
	f, err := elf.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if sites, err := Read(f, all); err != nil || len(sites) != 0 {
		t.Errorf("%d sites, %v", len(sites), err)
	}
}

func FuzzRead(f *testing.F) {
	f.Add(image(elf.EM_X86_64, makeNote("stapsdt\x00", 3, 0x1010, 0x1080, 0x5004, "app\x00start\x008@%rdi -4@8(%rax,%rbx,4)\x00")))
	f.Add(image(elf.EM_AARCH64, makeNote("stapsdt\x00", 3, 0x1010, 0x1080, 0, "app\x00start\x008@[sp, 8] 4@w1 -4@5\x00")))
	f.Fuzz(func(t *testing.T, file []byte) {
		checkRead(t, file)
	})
}

func checkRead(t *testing.T, file []byte) {
	sites, err := read(file, all)
	if err != nil && sites != nil {
		t.Error("sites beside an error")
	}
	for _, s := range sites {
		if s.Provider == "" || len(s.Args) > MaxArgs {
			t.Errorf("%+v", s)
		}
	}
}

// FuzzNotes is FuzzRead with all of the file in order but the notes.
func FuzzNotes(f *testing.F) {
	f.Add(false, makeNote("stapsdt\x00", 3, 0x1010, 0x1080, 0x5004, "app\x00start\x008@%rdi -4@8(%rax,%rbx,4)\x00"))
	f.Add(true, makeNote("stapsdt\x00", 3, 0x1010, 0x1080, 0, "app\x00start\x008@[sp, 8] 4@w1 -4@5 8@[x0, x1, lsl 3]\x00"))
	f.Fuzz(func(t *testing.T, arm bool, notes []byte) {
		machine := elf.EM_X86_64
		if arm {
			machine = elf.EM_AARCH64
		}
		checkRead(t, image(machine, notes))
	})
}

func FuzzOperand(f *testing.F) {
	for _, s := range []string{"8@%rdi", "-4@$-9", "8@8(%rax,%rbx,4)", "8@[sp, 8]", "4@w1", "4@wzr", "8@[x0, x1, lsl 3]", "-2@-0x8(,%r9,8)"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, parse := range []func(string) (Arg, error){ParseX86, ParseARM64} {
			a, err := parse(s)
			if err != nil {
				continue
			}
			for _, r := range []uint16{a.Base, a.Index} {
				if r != NoReg && (r > 31*8 || r%8 != 0) {
					t.Errorf("%q: register at %d", s, r)
				}
			}
			if a.Index != NoReg && a.Scale == 0 || a.Kind == None || a.Kind == Reg && a.Base == NoReg || a.Size == 0 || a.Scale > 8 {
				t.Errorf("%q: %+v", s, a)
			}
		}
	})
}

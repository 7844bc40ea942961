package probe

import (
	"bufio"
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// maxSymbols bounds the bytes of a symbol table, and of its names, that are
// looked at. They are never in memory as a whole.
const maxSymbols = 256 << 20

var errNoProgram = errors.New("not a program or library for this machine")

// openRegular opens a file to read. A watched program can have put anything
// under its name, also what holds up who opens it, or does something then.
func openRegular(name string) (*os.File, unix.Stat_t, error) {
	var st unix.Stat_t
	if err := unix.Stat(name, &st); err != nil {
		return nil, st, &os.PathError{Op: "stat", Path: name, Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, st, fmt.Errorf("%s: not a regular file", name)
	}
	fd, err := unix.Open(name, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, st, &os.PathError{Op: "open", Path: name, Err: err}
	}
	f := os.NewFile(uintptr(fd), name)
	if err := unix.Fstat(fd, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
		f.Close()
		return nil, st, fmt.Errorf("%s: not a regular file", name)
	}
	return f, st, nil
}

// openELF reads the headers of a program or library for this machine.
func openELF(r io.ReaderAt) (f *elf.File, err error) {
	defer func() {
		// The file is the watched program's and may be anything.
		if e := recover(); e != nil {
			f, err = nil, fmt.Errorf("read ELF headers: %v", e)
		}
	}()
	if !modest(r) {
		return nil, errNoProgram
	}
	f, err = elf.NewFile(r)
	if err != nil {
		return nil, err
	}
	if f.Class != elf.ELFCLASS64 || f.Data != elf.ELFDATA2LSB || f.Machine != elf.EM_X86_64 || f.Type != elf.ET_DYN && f.Type != elf.ET_EXEC {
		return nil, errNoProgram
	}
	return f, nil
}

// modest reports whether a file's headers and the names of its sections are few
// enough to be read: a sparse file can claim any number of them.
func modest(r io.ReaderAt) bool {
	var h [64]byte // struct Elf64_Ehdr
	if _, err := r.ReadAt(h[:], 0); err != nil {
		return false
	}
	const maxSegments = 128 // each is looked at for each address; programs have a dozen
	if n := binary.LittleEndian.Uint16(h[0x38:]); n > maxSegments || n > 0 && binary.LittleEndian.Uint16(h[0x36:]) != 56 {
		return false
	}
	headers := binary.LittleEndian.Uint64(h[0x28:])
	if headers == 0 {
		return true
	}
	if binary.LittleEndian.Uint16(h[0x3c:]) == 0 { // their number is elsewhere, and over 65,000
		return false
	}
	if binary.LittleEndian.Uint16(h[0x3a:]) != 64 {
		return false
	}
	var names [64]byte // struct Elf64_Shdr
	at := headers + 64*uint64(binary.LittleEndian.Uint16(h[0x3e:]))
	if at > 1<<62 {
		return false
	}
	_, err := r.ReadAt(names[:], int64(at))
	return err == nil && binary.LittleEndian.Uint64(names[0x20:]) <= 1<<20
}

// functions finds the functions of these names that the file itself has, and
// returns where in the file each begins. A stripped program has only those
// that others may call.
func functions(f *elf.File, names map[string]bool) (map[string]uint64, error) {
	found := map[string]uint64{}
	for _, typ := range []elf.SectionType{elf.SHT_DYNSYM, elf.SHT_SYMTAB} {
		table := f.SectionByType(typ)
		if table == nil || int(table.Link) >= len(f.Sections) {
			continue
		}
		places, err := namePlaces(f.Sections[table.Link], names)
		if err != nil {
			return nil, err
		}
		if len(places) == 0 {
			continue
		}
		const size = 24 // struct Elf64_Sym
		var chunk [2048 * size]byte
		for r := content(table); ; {
			n, err := io.ReadFull(r, chunk[:])
			for symbols := chunk[:n]; len(symbols) >= size; symbols = symbols[size:] {
				name, ok := places[binary.LittleEndian.Uint32(symbols)]
				if !ok || elf.ST_TYPE(symbols[4]) != elf.STT_FUNC || binary.LittleEndian.Uint16(symbols[6:]) == 0 {
					continue
				}
				if _, ok := found[name]; ok {
					continue
				}
				if off, ok := fileOffset(f, binary.LittleEndian.Uint64(symbols[8:])); ok {
					found[name] = off
				}
			}
			if err == io.EOF || err == io.ErrUnexpectedEOF {
				break
			}
			if err != nil {
				return nil, fmt.Errorf("read section %s: %w", table.Name, err)
			}
		}
	}
	return found, nil
}

// namePlaces finds where in a table of texts these names, of less than 4096
// bytes each, are, each as a text of its own or as the end of another one.
func namePlaces(table *elf.Section, names map[string]bool) (map[uint32]string, error) {
	// Places of a name: linkers make one where it is whole, and there is one at
	// the end of each longer name.
	const mostWhole, most = 64, 4096
	places, count := map[uint32]string{}, map[string]int{}
	ends := [256]bool{} // of the names
	longest := 0
	for name := range names {
		ends[name[len(name)-1]] = true
		longest = max(longest, len(name))
	}
	buf := make([]byte, 64<<10)
	kept, base := 0, 0 // base: where in the table buf begins
	for r := content(table); ; {
		n, err := io.ReadFull(r, buf[kept:])
		text := buf[:kept+n]
		for i := kept; ; {
			j := bytes.IndexByte(text[i:], 0)
			if j < 0 {
				break
			}
			end := i + j
			i = end + 1
			if end == 0 || !ends[text[end-1]] {
				continue
			}
			for name := range names {
				if !bytes.HasSuffix(text[:end], []byte(name)) {
					continue
				}
				at := end - len(name)
				whole := at > 0 && text[at-1] == 0
				if count[name] < most || whole && count[name] < most+mostWhole {
					count[name]++
					places[uint32(base+at)] = name
				}
			}
		}
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return places, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read section %s: %w", table.Name, err)
		}
		keep := min(longest+1, len(text))
		copy(buf, text[len(text)-keep:])
		base, kept = base+len(text)-keep, keep
	}
}

// content is what is in a section of the file.
func content(s *elf.Section) io.Reader {
	if s.Type == elf.SHT_NOBITS || s.FileSize > maxSymbols {
		return bytes.NewReader(nil)
	}
	// Not Data, which believes a size that the file does not have.
	return io.LimitReader(s.Open(), int64(s.FileSize))
}

// fileOffset is where in the file the code of an address lies.
func fileOffset(f *elf.File, addr uint64) (uint64, bool) {
	for _, p := range f.Progs {
		if p.Type == elf.PT_LOAD && p.Flags&elf.PF_X != 0 && addr >= p.Vaddr && addr-p.Vaddr < p.Filesz {
			return addr - p.Vaddr + p.Off, true
		}
	}
	return 0, false
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
		symbols := bufio.NewReader(content(table))
		var sym [size]byte
		for range maxLook {
			if _, err := io.ReadFull(symbols, sym[:]); err != nil || len(inits) == most {
				break
			}
			addr := binary.LittleEndian.Uint64(sym[8:])
			if elf.ST_TYPE(sym[4]) != elf.STT_FUNC || binary.LittleEndian.Uint16(sym[6:]) == 0 || addr == 0 {
				continue
			}
			name := text(f.Sections[table.Link], binary.LittleEndian.Uint32(sym[:]), 64)
			if strings.Contains(strings.ToLower(name), "init") {
				inits = append(inits, addr)
			} else if len(others) < most {
				others = append(others, addr)
			}
		}
	}
	return append(inits, others...)
}

// dynamicTexts are texts of the dynamic section: what it has under each tag, the
// first of them.
func dynamicTexts(f *elf.File, tags ...elf.DynTag) []string {
	const most = 64
	ds := f.SectionByType(elf.SHT_DYNAMIC)
	if ds == nil || int(ds.Link) >= len(f.Sections) {
		return nil
	}
	d, err := io.ReadAll(io.LimitReader(content(ds), 64<<10))
	if err != nil {
		return nil
	}
	var all []string
	for ; len(d) >= 16 && len(all) < most; d = d[16:] { // struct Elf64_Dyn
		if tag := binary.LittleEndian.Uint64(d); slices.Contains(tags, elf.DynTag(tag)) {
			all = append(all, text(f.Sections[ds.Link], binary.LittleEndian.Uint32(d[8:]), 4096))
		}
	}
	return all
}

// text is what stands at a place in a table of texts, at most that many bytes.
func text(table *elf.Section, at uint32, size int) string {
	if table.Type == elf.SHT_NOBITS || table.Flags&elf.SHF_COMPRESSED != 0 || uint64(at) >= table.FileSize {
		return ""
	}
	b := make([]byte, min(uint64(size), table.FileSize-uint64(at)))
	n, _ := table.ReadAt(b, int64(at)) // what the file does not have is not there
	return unix.ByteSliceToString(b[:n])
}

// interpreter is the path of the loader that the file asks for; "": none.
func interpreter(f *elf.File) string {
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP && p.Filesz < 4096 {
			b, err := io.ReadAll(p.Open())
			if err == nil {
				return unix.ByteSliceToString(b)
			}
		}
	}
	return ""
}

// harmlessCode are instructions at the beginning of a function that leave its
// arguments in their registers.
var harmlessCode = []struct{ code, any string }{ // any: bytes that follow, of any value
	{"\xf3\x0f\x1e\xfa", ""},                     // endbr64
	{"\x48\x83\xec", "."},                        // sub $N,%rsp
	{"\x48\x81\xec", "...."},                     // the same, larger
	{"\x64\x48\x8b\x04\x25\x28\x00\x00\x00", ""}, // mov %fs:0x28,%rax, the stack's guard
	{"\x48\x89\x44\x24", "."},                    // mov %rax,N(%rsp)
	{"\x48\x89\x84\x24", "...."},                 // the same, farther
	{"\x31\xc0", ""},                             // xor %eax,%eax
	{"\x31\xc9", ""},                             // xor %ecx,%ecx
	{"\x45\x31\xc0", ""},                         // xor %r8d,%r8d
	{"\x45\x31\xc9", ""},                         // xor %r9d,%r9d
	{"\x85\xd2", ""},                             // test %edx,%edx
	{"\x48\x85\xff", ""},                         // test %rdi,%rdi
	{"\x48\x85\xf6", ""},                         // test %rsi,%rsi
	{"\x48\x85\xd2", ""},                         // test %rdx,%rdx
}

// entry is where in the code of a function its call is best seen, bytes from
// its beginning: at an instruction that the kernel can act out when the uprobe
// has been served. All others it must let the processor step through, which
// takes 16 µs here instead of half a one.
func entry(code []byte) uint64 {
	for at := 0; ; {
		rest := code[at:]
		if len(rest) < 6 {
			return 0
		}
		switch b := rest[0]; {
		case b == 0x90, // nop
			b&0xf8 == 0x50, b == 0x41 && rest[1]&0xf8 == 0x50, // push
			b == 0xe8, b == 0xe9, b == 0xeb, // call, jmp
			b&0xf0 == 0x70, b == 0x0f && rest[1]&0xf0 == 0x80: // jcc
			return uint64(at)
		}
		n := 0
		for _, h := range harmlessCode {
			if len(rest) > len(h.code)+len(h.any) && string(rest[:len(h.code)]) == h.code {
				n = len(h.code) + len(h.any)
			}
		}
		if n == 0 {
			return 0
		}
		at += n
	}
}

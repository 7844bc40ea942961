package event

import (
	"bytes"
	"strconv"
)

// Fields of the events of files.
const (
	PathOpenPath = iota
	PathOpenFlags
)
const (
	FileSymlinkTarget = iota
	FileSymlinkPath
)
const (
	FileHardlinkOldPath = iota
	FileHardlinkPath
)
const (
	FileRenameOldPath = iota
	FileRenamePath
	FileRenameFlags
)
const (
	FileUnlinkPath = iota
)
const (
	FileChmodMode = iota
	FileChmodPath
)
const (
	FileTruncatePath = iota
	FileTruncateLength
)
const (
	FileGetdentsFD = iota
	FileGetdentsCount
	FileGetdentsPath
)

var files = []Kind{
	{ID: PathOpen, Name: "path_open", Label: "LSM", Doc: "A file was opened.", Fields: []Field{
		PathOpenPath:  {"path", Text, Text0, "whole path as the target sees it", "/srv/app/config.yml"},
		PathOpenFlags: {"flags", Uint, Num0, "open flags (O_*)", 0},
	}, text: textPathOpen, extra: []extra{{field: PathOpenFlags, show: appendOpenFlags}}, derive: derivePathOpen},
	{ID: FileSymlink, Name: "file_symlink", Label: "LSM", Doc: "A symbolic link was made.", Fields: []Field{
		FileSymlinkTarget: {"target", Text, Text0, "what the link says", "config.yml"},
		FileSymlinkPath:   {"path", Text, Text1, "the new link", "/srv/app/config.yml"},
	}, text: textSymlink},
	{ID: FileHardlink, Name: "file_hardlink", Label: "LSM", Doc: "A hard link was made.", Fields: []Field{
		FileHardlinkOldPath: {"old_path", Text, Text0, "the existing file", "/srv/app/config.new"},
		FileHardlinkPath:    {"path", Text, Text1, "the new name", "/srv/app/config.yml"},
	}, text: textHardlink},
	{ID: FileRename, Name: "file_rename", Label: "LSM", Doc: "A file was renamed.", Fields: []Field{
		FileRenameOldPath: {"old_path", Text, Text0, "the name before", "/srv/app/config.new"},
		FileRenamePath:    {"path", Text, Text1, "the name after", "/srv/app/config.yml"},
		FileRenameFlags:   {"flags", Uint, Num0, "RENAME_* bits; with RENAME_EXCHANGE (2) both names exist afterwards, exchanged; absent: 0", nil},
	}, text: textRename, extra: []extra{{field: FileRenameFlags, show: appendRenameFlags}}, derive: deriveRename},
	{ID: FileUnlink, Name: "file_unlink", Label: "EVT", Doc: "A file or directory was removed.", Fields: []Field{
		FileUnlinkPath: {"path", Text, Text0, "the removed name", "/srv/app/config.yml"},
	}, text: textUnlink},
	{ID: FileChmod, Name: "file_chmod", Label: "LSM", Doc: "Permission bits were changed.", Fields: []Field{
		FileChmodMode: {"mode", Uint, Num0, "new mode bits", 0o644},
		FileChmodPath: {"path", Text, Text0, "the file", "/srv/app/config.yml"},
	}, text: textChmod},
	{ID: FileTruncate, Name: "file_truncate", Label: "LSM", Doc: "A file was cut, or made longer, to a length.", Fields: []Field{
		FileTruncatePath:   {"path", Text, Text0, "the file", "/srv/app/config.yml"},
		FileTruncateLength: {"length", Int, Num0, "new length, bytes", 4096},
	}, text: textTruncate},
	{ID: FileGetdents, Name: "file_getdents", Label: "TP", Doc: "A directory was listed.", Fields: []Field{
		FileGetdentsFD:    {"fd", Uint, Num0, "file descriptor", 3},
		FileGetdentsCount: {"count", Uint, Num1, "size of the caller's buffer, bytes", 32768},
		FileGetdentsPath:  {"path", Text, Text0, "the directory", "/srv/app"},
	}, text: textGetdents, extra: []extra{{field: FileGetdentsPath, show: showQuoted}}},
}

// derivePathOpen takes out of a path what means nothing in it: one of an unknown
// outcome is the name that the program gave, where others are the kernel's own.
func derivePathOpen(ev *Event, _ *Raw) {
	path := ev.Fields[PathOpenPath].Text
	if !ev.OutcomeUnknown || len(path) == 0 || path[0] != '/' {
		return
	}
	to := path[:0]
	for rest := path[1:]; len(rest) > 0; {
		var name []byte
		name, rest, _ = bytes.Cut(rest, []byte{'/'})
		if len(name) > 0 && string(name) != "." {
			to = append(append(to, '/'), name...)
		}
	}
	if len(to) == 0 {
		to = path[:1]
	}
	ev.Fields[PathOpenPath].Text = to
}

func textPathOpen(b []byte, ev *Event) []byte { return ev.quote(b, "", PathOpenPath) }

func textSymlink(b []byte, ev *Event) []byte {
	return ev.quote(ev.quote(b, "target=", FileSymlinkTarget), " link_name=", FileSymlinkPath)
}

func textHardlink(b []byte, ev *Event) []byte {
	return ev.quote(ev.quote(b, "old_path=", FileHardlinkOldPath), " new_name=", FileHardlinkPath)
}

func textRename(b []byte, ev *Event) []byte {
	return ev.quote(ev.quote(b, "old_name=", FileRenameOldPath), " new_name=", FileRenamePath)
}

// deriveRename leaves out the flags of a plain rename.
func deriveRename(ev *Event, _ *Raw) {
	if f := &ev.Fields[FileRenameFlags]; f.Num == 0 {
		f.Type = None
	}
}

// renameFlags are the bits of renameat2(2), lowest first.
var renameFlags = [...]string{"RENAME_NOREPLACE", "RENAME_EXCHANGE", "RENAME_WHITEOUT"}

func appendRenameFlags(b []byte, v Value) []byte {
	f, at := v.Num, len(b)
	for i, name := range renameFlags {
		if f&(1<<i) == 0 {
			continue
		}
		f &^= 1 << i
		if len(b) > at {
			b = append(b, '|')
		}
		b = append(b, name...)
	}
	if f == 0 {
		return b
	}
	if len(b) > at {
		b = append(b, '|')
	}
	return appendHex(append(b, "0x"...), f, hexLower)
}

func textUnlink(b []byte, ev *Event) []byte {
	return ev.quote(b, "filename=", FileUnlinkPath)
}

func textChmod(b []byte, ev *Event) []byte {
	b = strconv.AppendUint(append(b, "mode=0o"...), ev.Fields[FileChmodMode].Num, 8)
	return ev.quote(b, " path=", FileChmodPath)
}

func textTruncate(b []byte, ev *Event) []byte {
	b = ev.quote(b, "path=", FileTruncatePath)
	return strconv.AppendInt(append(b, " length="...), int64(ev.Fields[FileTruncateLength].Num), 10)
}

func textGetdents(b []byte, ev *Event) []byte {
	return ev.dec(ev.dec(b, "fd=", FileGetdentsFD), " count=", FileGetdentsCount)
}

// openFlags are the open flags of every architecture but Alpha, MIPS, PA-RISC,
// SPARC, ARM and PowerPC, which have some of their own; a flag of more than
// one bit stands before its parts. O_LARGEFILE is left out: on 64 bits the
// kernel sets it in every open.
var openFlags = []struct {
	bits uint64
	name string
}{
	{0o100, "O_CREAT"}, {0o200, "O_EXCL"}, {0o400, "O_NOCTTY"}, {0o1000, "O_TRUNC"}, {0o2000, "O_APPEND"},
	{0o4000, "O_NONBLOCK"}, {0o4010000, "O_SYNC"}, {0o10000, "O_DSYNC"}, {0o20000, "O_ASYNC"},
	{0o40000, "O_DIRECT"}, {0o100000, ""}, {0o20200000, "O_TMPFILE"}, {0o200000, "O_DIRECTORY"},
	{0o400000, "O_NOFOLLOW"}, {0o1000000, "O_NOATIME"}, {0o2000000, "O_CLOEXEC"}, {0o10000000, "O_PATH"},
}

// appendOpenFlags appends open flags by name, those without one in hexadecimal.
func appendOpenFlags(b []byte, v Value) []byte {
	f := v.Num
	switch f & 3 {
	case 0:
		b = append(b, "O_RDONLY"...)
	case 1:
		b = append(b, "O_WRONLY"...)
	case 2:
		b = append(b, "O_RDWR"...)
	default:
		b = append(b, '3')
	}
	f &^= 3
	for _, o := range openFlags {
		if f&o.bits != o.bits {
			continue
		}
		f &^= o.bits
		if o.name != "" {
			b = append(append(b, '|'), o.name...)
		}
	}
	if f != 0 {
		b = appendHex(append(b, "|0x"...), f, hexLower)
	}
	return b
}

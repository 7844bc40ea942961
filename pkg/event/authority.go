package event

import (
	"bytes"
	"encoding/binary"
	"strconv"
)

// Fields of the events of authority: over other processes, the kernel, users.
const (
	PtraceCheckMode = iota
	PtraceCheckTargetPID
)
const (
	SbMountFlags = iota
	SbMountDev
	SbMountFstype
	SbMountPath
)
const (
	KernelReadFileID = iota
	KernelReadFileContents
	KernelReadFilePath
	KernelReadFileIDName
)
const (
	TaskKillSig = iota
	TaskKillSigName
	TaskKillTargetPID
)
const (
	SetidChangeFlags = iota
	SetidChangeOldIDs
	SetidChangeNewIDs
	SetidChangeGroup
)
const (
	CapableCheckCap = iota
	CapableCheckCapName
	CapableCheckOpts
)
const (
	BprmCredsHasFile = iota
	BprmCredsPath
	BprmCredsSetuid
	BprmCredsSetgid
)

var authority = []Kind{
	{ID: PtraceCheck, Name: "ptrace_check", Label: "LSM", Severity: High, Doc: "Access to another process's memory was asked for.", Fields: []Field{
		PtraceCheckMode:      {"mode", Uint, Num0, "PTRACE_MODE_* bits", 18},
		PtraceCheckTargetPID: {"target_pid", Uint, Num1, "process concerned", 4712},
	}, text: textPtrace, extra: []extra{{field: PtraceCheckTargetPID}}},
	{ID: SbMount, Name: "sb_mount", Label: "LSM", Severity: High, Doc: "A file system was mounted or moved.", Fields: []Field{
		SbMountFlags:  {"flags", Uint, Num0, "mount flags (MS_*)", 0},
		SbMountDev:    {"dev", Text, Derived, "device or source; of a directory that open_tree(2) cloned DEVICE[/PATH], as findmnt(8) shows it", "tmpfs"},
		SbMountFstype: {"fstype", Text, Derived, "file system type", "tmpfs"},
		SbMountPath:   {"path", Text, Text1, "mount point", "/mnt"},
	}, text: textMount, extra: []extra{{field: SbMountPath, show: showQuoted}}, derive: deriveMount},
	{ID: KernelReadFile, Name: "kernel_read_file", Label: "LSM", Severity: High, Doc: "The kernel was made to read a file: a module, firmware, a kexec image.", Fields: []Field{
		KernelReadFileID:       {"id", Uint, Num0, "enum kernel_read_file_id", 2},
		KernelReadFileContents: {"contents", Uint, Num1, "1 when the whole contents are read at once", 1},
		KernelReadFilePath:     {"path", Text, Text0, "file read", "/lib/modules/dummy.ko"},
		KernelReadFileIDName:   {"id_name", Text, Derived, "name of id", "kernel-module"},
	}, text: textReadFile, extra: []extra{{field: KernelReadFilePath, show: showQuoted}, {field: KernelReadFileIDName}}, derive: deriveReadFile},
	{ID: TaskKill, Name: "task_kill", Label: "LSM", Severity: High, Doc: "A signal was sent.", Fields: []Field{
		TaskKillSig:       {"sig", Int, Num0, "signal number", 15},
		TaskKillSigName:   {"sig_name", Text, Derived, "its name without SIG", "TERM"},
		TaskKillTargetPID: {"target_pid", Int, Num1, "process it was sent to; negative: a process group", 4712},
	}, text: textKill, extra: []extra{{field: TaskKillTargetPID}}, derive: deriveKill},
	{ID: SetidChange, Name: "setid_change", Label: "LSM", Severity: High, Doc: "User or group ids were changed.", Fields: []Field{
		SetidChangeFlags:  {"flags", Uint, Num0, "LSM_SETID_* bits", 2},
		SetidChangeOldIDs: {"old_ids", Text, Derived, "ids before: real,effective,saved,fs", "1000,1000,1000,1000"},
		SetidChangeNewIDs: {"new_ids", Text, Derived, "ids after: real,effective,saved,fs", "1000,0,0,0"},
		SetidChangeGroup:  {"group", Bool, Num1, "true for group ids", 0},
	}, text: textSetid, extra: []extra{{field: SetidChangeOldIDs}, {field: SetidChangeNewIDs}, {field: SetidChangeGroup}}, derive: deriveSetid},
	{ID: CapableCheck, Name: "capable_check", Label: "LSM", Severity: High, Doc: "A high-risk capability was tested.", Fields: []Field{
		CapableCheckCap:     {"cap", Uint, Num0, "capability number", 21},
		CapableCheckCapName: {"cap_name", Text, Derived, "its name", "CAP_SYS_ADMIN"},
		CapableCheckOpts:    {"opts", Uint, Num1, "CAP_OPT_* bits", nil},
	}, text: textCapable, derive: deriveCapable},
	{ID: BprmCreds, Name: "bprm_creds", Label: "LSM", Severity: High, Doc: "A program's credentials were computed for an exec.", Fields: []Field{
		BprmCredsHasFile: {"has_file", Uint, Num0, "1 when the program has a file", 1},
		BprmCredsPath:    {"path", Text, Text0, "the program's file", "/usr/bin/sudo"},
		BprmCredsSetuid:  {"setuid", Bool, Num1, "the file has the setuid bit", 1},
		BprmCredsSetgid:  {"setgid", Bool, Num2, "the file has the setgid bit", 0},
	}, text: textBprm, extra: []extra{{field: BprmCredsSetuid}, {field: BprmCredsSetgid}}},
}

func textPtrace(b []byte, ev *Event) []byte { return ev.hex(b, "mode=", PtraceCheckMode) }

func textMount(b []byte, ev *Event) []byte {
	b = ev.hex(b, "flags=", SbMountFlags)
	return ev.quote(ev.quote(b, " dev_name=", SbMountDev), " fs_type=", SbMountFstype)
}

// A record's text 0 is the device, a NUL and the type. Of a mount that was
// nowhere before (number 1) the path in the file system is in front; one that is
// not its root is shown as findmnt(8) does: DEVICE[/PATH].
func deriveMount(ev *Event, raw *Raw) {
	text := raw.Text[0]
	var path []byte
	if raw.Num[1] != 0 {
		path, text, _ = bytes.Cut(text, []byte{0})
	}
	dev, fstype, _ := bytes.Cut(text, []byte{0})
	if len(path) > 1 {
		at := len(raw.Buf)
		raw.Buf = append(append(append(append(raw.Buf, dev...), '['), path...), ']')
		dev = raw.since(at)
	}
	ev.setText(SbMountDev, dev)
	ev.setText(SbMountFstype, CString(fstype))
}

func textReadFile(b []byte, ev *Event) []byte {
	return ev.dec(ev.dec(b, "id=", KernelReadFileID), " contents=", KernelReadFileContents)
}

func deriveReadFile(ev *Event, raw *Raw) {
	if id := ev.Fields[KernelReadFileID].Num; id < uint64(len(readIDs)) {
		ev.setName(KernelReadFileIDName, readIDs[id], raw)
	}
}

func textKill(b []byte, ev *Event) []byte {
	sig := int64(ev.Fields[TaskKillSig].Num)
	b = strconv.AppendInt(append(b, "sig="...), sig, 10)
	if name := SignalName(sig); name != "" {
		b = append(append(b, " signame="...), name...)
	}
	return b
}

func deriveKill(ev *Event, raw *Raw) {
	if sig := ev.Fields[TaskKillSig]; sig.Type != None {
		ev.setName(TaskKillSigName, SignalName(int64(sig.Num)), raw)
	}
}

func textSetid(b []byte, ev *Event) []byte {
	b = append(ev.hex(b, "flags=", SetidChangeFlags), " kinds=["...)
	at := len(b)
	for i, name := range [...]string{"LSM_SETID_ID", "LSM_SETID_RE", "LSM_SETID_RES", "LSM_SETID_FS"} {
		if ev.Fields[SetidChangeFlags].Num&(1<<i) != 0 {
			if len(b) > at {
				b = append(b, ", "...)
			}
			b = append(b, name...)
		}
	}
	if len(b) == at {
		b = append(b, "UNKNOWN"...)
	}
	return append(b, ']')
}

// A record's text 0 is the ids before and after: struct ids of bpf/hooks/authority.h.
func deriveSetid(ev *Event, raw *Raw) {
	const size = 4 * 4
	for rest, field := raw.Text[0], SetidChangeOldIDs; len(rest) >= size && field <= SetidChangeNewIDs; field++ {
		at := len(raw.Buf)
		for i := 0; i < size; i += 4 {
			if i > 0 {
				raw.Buf = append(raw.Buf, ',')
			}
			raw.Buf = strconv.AppendUint(raw.Buf, uint64(binary.NativeEndian.Uint32(rest[i:])), 10)
		}
		ev.setText(field, raw.since(at))
		rest = rest[size:]
	}
}

func textCapable(b []byte, ev *Event) []byte {
	c := ev.Fields[CapableCheckCap].Num
	return ev.hex(appendNamed(b, "cap=", c, CapName(c)), " opts=", CapableCheckOpts)
}

func deriveCapable(ev *Event, raw *Raw) {
	ev.setName(CapableCheckCapName, CapName(ev.Fields[CapableCheckCap].Num), raw)
}

func textBprm(b []byte, ev *Event) []byte {
	return ev.quote(ev.dec(b, "has_file=", BprmCredsHasFile), " file=", BprmCredsPath)
}

package event

import "strconv"

// Fields of the events of processes.
const (
	ProcForkChildPID = iota
	ProcForkChildTID
	ProcForkChildSpanID
)
const (
	ProcExecPath = iota
	ProcExecArgv
	ProcExecArgc
	ProcExecOldTID
)
const (
	ProcExitCode = iota
	ProcExitSignal
	ProcExitProcess
)

var processes = []Kind{
	{ID: ProcFork, Name: "proc_fork", Label: "TP", Doc: "A process or thread was made.", Fields: []Field{
		ProcForkChildPID:    {"child_pid", Uint, Num0, "process id of the child", 4712},
		ProcForkChildTID:    {"child_tid", Uint, Num1, "thread id of the child; another than child_pid: a new thread", 4712},
		ProcForkChildSpanID: {"child_span_id", Uint, Num2, "span id given to the child", 0x1f2e3d4c5b6a7988},
	}, text: textFork, extra: []extra{{field: ProcForkChildSpanID, show: showSpanID}}},
	{ID: ProcExec, Name: "proc_exec", Label: "TP", Doc: "A program was executed, or its execution failed.", Fields: []Field{
		ProcExecPath:   {"path", Text, Text0, "file executed, as the kernel resolved it", "/usr/bin/git"},
		ProcExecArgv:   {"argv", List, Args1, "arguments, argv[0] first", []string{"git", "status"}},
		ProcExecArgc:   {"argc", Uint, Num0, "number of arguments, also when argv was cut", 2},
		ProcExecOldTID: {"old_tid", Uint, Num1, "thread that called exec; present when it was not the leader", nil},
	}, text: textExec, extra: []extra{{field: ProcExecArgc, cut: true}, {field: ProcExecOldTID}}},
	{ID: ProcExit, Name: "proc_exit", Label: "EVT", Doc: "A thread ended.", Fields: []Field{
		ProcExitCode:    {"exit_code", Int, Num0, "exit status of the thread, 0..255; of the process, if it is its last one", 1},
		ProcExitSignal:  {"signal", Int, Num1, "signal that killed it; absent: none", nil},
		ProcExitProcess: {"process", Bool, Num2, "true: the last thread of its process, whose status this is; false: others go on; absent: unknown", nil},
	}, text: textExit},
}

func textFork(b []byte, ev *Event) []byte {
	return ev.dec(ev.dec(b, "child_pid=", ProcForkChildPID), " child_tid=", ProcForkChildTID)
}

func textExec(b []byte, ev *Event) []byte {
	b = ev.quote(b, "filename=", ProcExecPath)
	return ev.list(append(b, " argv="...), ev.Fields[ProcExecArgv].List)
}

func textExit(b []byte, ev *Event) []byte {
	code, signal := ev.Fields[ProcExitCode], ev.Fields[ProcExitSignal]
	switch {
	case signal.Num != 0:
		b = append(b, "signal="...)
		if name := SignalName(int64(signal.Num)); name != "" {
			return append(b, name...)
		}
		return strconv.AppendInt(b, int64(signal.Num), 10)
	case code.Type != None:
		return strconv.AppendInt(append(b, "code="...), int64(code.Num), 10)
	}
	return append(b, '"', '"')
}

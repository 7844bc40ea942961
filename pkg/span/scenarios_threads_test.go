package span

var threadScenarios = []scenario{
	{
		name: "late events keep the span that has ended, a second exit too",
		in: `session 100
			20 200 exit
			21 200 open
			22 200 exit
			23 200#0 start x
			24 200#7 start y
			end 40`,
		want: `+S 10
			+t200 <S 20
			200 proc_exit t200
			-t200 20..20
			200 path_open t200
			200 proc_exit t200
			200 span_start t200
			+t200' <S 24
			+y <t200' 24
			200 span_start y
			-y 24..40 dangling
			-t200' 24..40 dangling
			-S 10..40
			end`,
		stats: Stats{Late: 3},
	},
	{
		name: "a reused tid is a new thread: by its span id, after an exit, by a fork",
		in: `session 100
			20 200 start a
			22 200#7 open
			23 200#7 exit
			24 200#8 open
			25 100 fork 200
			26 200#9 open
			27 100 fork 300
			28 300#0 open
			29 100 fork 300
			30 300#0 open
			end 40`,
		want: `+S 10
			+t200 <S 20
			+a <t200 20
			200 span_start a
			-a 20..20 dangling
			-t200 20..20 dangling
			+t200' <S 22
			200 path_open t200'
			200 proc_exit t200'
			-t200' 22..23
			+t200'' <S 24
			200 path_open t200''
			+t100 <S 10
			-t200'' 24..24 dangling
			100 proc_fork t100
			+t200''' <t100 26
			200 path_open t200'''
			100 proc_fork t100
			+t300 <t100 28
			300 path_open t300
			-t300 28..28 dangling
			100 proc_fork t100
			+t300' <t100 30
			300 path_open t300'
			-t100 10..40 dangling
			-t200''' 26..40 dangling
			-t300' 30..40 dangling
			-S 10..40
			end`,
	},
	{
		name: "an exec keeps the span and what is open in it",
		in: `session 100
			20 100 start exec
			21 100 exec
			22 100 open
			end 40`,
		want: `+S 10
			+t100 <S 10
			+exec <t100 20
			100 span_start exec
			100 proc_exec exec
			100 path_open exec
			-exec 20..40 dangling
			-t100 10..40 dangling
			-S 10..40
			end`,
	},
	{
		name: "an exec by another thread than the first goes on under the first one's tid",
		in: `session 1
			20 100 open
			21 100 thread 101
			22 100/101 start run
			23 100 exit
			24 100#101 exec 101
			25 100#101 open
			26 100#101 stop run
			27 100#101 exit
			end 40`,
		want: `+S 10
			+t100 <S 20
			100 path_open t100
			100 proc_fork t100
			+t101 <t100 22
			+run <t101 22
			101 span_start run
			100 proc_exit t100
			-t100 20..23
			100 proc_exec run
			100 path_open run
			100 span_stop run
			-run 22..26
			100 proc_exit t101
			-t101 22..27
			-S 10..40
			end`,
	},
	{
		name: "the same, with the first thread's exit lost, or no event of the other one",
		in: `session 1
			20 100 start a
			21 100 thread 101
			24 100#101 exec 101
			25 100#101 open
			end 40`,
		want: `+S 10
			+t100 <S 20
			+a <t100 20
			100 span_start a
			100 proc_fork a
			-a 20..24 dangling
			-t100 20..24
			+t100' <a 24
			100 proc_exec t100'
			100 path_open t100'
			-t100' 24..40 dangling
			-S 10..40
			end`,
	},
	{
		name: "a failed exec moves nothing",
		in: `session 1
			20 100/101 open
			21 100 failed 101
			22 100/101 open
			end 40`,
		want: `+S 10
			+t101 <S 20
			101 path_open t101
			+t100 <S 21
			100 proc_exec t100
			101 path_open t101
			-t101 20..40 dangling
			-t100 21..40 dangling
			-S 10..40
			end`,
	},
	{
		name: "an exec with the first thread's id: that one's span has ended all the same",
		in: `session 1
			20 100 open
			21 100 thread 101
			24 100 exec 101
			25 100 exit
			end 40`,
		want: `+S 10
			+t100 <S 20
			100 path_open t100
			100 proc_fork t100
			-t100 20..24
			+t100' <t100 24
			100 proc_exec t100'
			100 proc_exit t100'
			-t100' 24..25
			-S 10..40
			end`,
	},
	{
		name: "an exit that is older than the event before it",
		in: `session 1
			30 100 open
			25 100 exit
			end 40`,
		want: `+S 10
			+t100 <S 30
			100 path_open t100
			100 proc_exit t100
			-t100 25..30
			-S 10..40
			end`,
		stats: Stats{OutOfOrder: 1},
	},
	{
		name: "events without ids",
		in: `session 1
			20 100#0 open
			21 100#0 start a
			22 100#5 open
			23 100#5 exit
			end 40`,
		want: `+S 10
			+t100 <S 20
			100 path_open t100
			+a <t100 21
			100 span_start a
			100 path_open a
			100 proc_exit a
			-a 21..23 dangling
			-t100 20..23
			-S 10..40
			end`,
	},
}

package span

var parentScenarios = []scenario{
	{
		name: "a child hangs under the method that forked it, also when that has ended",
		in: `session 100
			20 100 start system
			21 100 fork 200
			22 200^100 open
			23 100 fork 300
			24 100 stop system
			25 300^100 open
			26 300^100 exit
			27 100 fork 400
			28 400^100 exit
			end 40`,
		want: `+S 10
			+t100 <S 10
			+system <t100 20
			100 span_start system
			100 proc_fork system
			+t200 <system 22
			200 path_open t200
			100 proc_fork system
			100 span_stop system
			-system 20..24
			+t300 <system 25
			300 path_open t300
			300 proc_exit t300
			-t300 25..26
			100 proc_fork t100
			+t400 <t100 28
			400 proc_exit t400
			-t400 28..28
			-t100 10..40 dangling
			-t200 22..40 dangling
			-S 10..40
			end`,
	},
	{
		name: "a thread without a fork hangs under the thread that its events name, else under the session",
		in: `session 100
			20 100 open
			21 100/101^100 open
			22 300^7 open
			23 301^300 open
			end 40`,
		want: `+S 10
			+t100 <S 10
			100 path_open t100
			+t101 <t100 21
			101 path_open t101
			+t300 <S 22
			300 path_open t300
			+t301 <t300 23
			301 path_open t301
			-t100 10..40 dangling
			-t101 21..40 dangling
			-t300 22..40 dangling
			-t301 23..40 dangling
			-S 10..40
			end`,
	},
	{
		name: "a parent that comes late is in the span record, but never a circle",
		in: `session 1
			20 200^100 open
			21 100^200 open
			22 300^300 open
			23 400^100 open
			24 400^100 exit
			25 500 open
			26 600 open
			27 500^600 exit
			end 40`,
		want: `+S 10
			+t200 <S 20
			200 path_open t200
			+t100 <t200 21
			100 path_open t100
			+t300 <S 22
			300 path_open t300
			+t400 <t100 23
			400 path_open t400
			400 proc_exit t400
			-t400 23..24
			+t500 <S 25
			500 path_open t500
			+t600 <S 26
			600 path_open t600
			500 proc_exit t500
			-t500 25..27 <t600
			-t200 20..40 dangling
			-t100 21..40 dangling
			-t300 22..40 dangling
			-t600 26..40 dangling
			-S 10..40
			end`,
	},
	{
		name: "a child whose events overtake its fork",
		in: `session 100
			20 100 start a
			22 200^100 open
			21 100 fork 200
			23 200^100 exit
			end 40`,
		want: `+S 10
			+t100 <S 10
			+a <t100 20
			100 span_start a
			+t200 <t100 22
			200 path_open t200
			100 proc_fork a
			200 proc_exit t200
			-t200 22..23 <a
			-a 20..40 dangling
			-t100 10..40 dangling
			-S 10..40
			end`,
	},
	{
		name: "a fork that is said when its call returns, after the child began",
		in: `session 100
			20 100 start a
			21 200^100 open
			22 100 fork 200#200
			23 200^100 exit
			end 40`,
		want: `+S 10
			+t100 <S 10
			+a <t100 20
			100 span_start a
			+t200 <t100 21
			200 path_open t200
			100 proc_fork a
			200 proc_exit t200
			-t200 21..23 <a
			-a 20..40 dangling
			-t100 10..40 dangling
			-S 10..40
			end`,
	},
	{
		name:      "a late fork does not move a thread into another trace",
		perMethod: true,
		in: `session 100
			20 100 start a
			22 200^100 open
			21 100 fork 200
			23 200^100 exit
			end 40`,
		want: `+S 10
			+t100 <S 10
			+a <- 20 trace link t100
			100 span_start a
			+t200 <t100 22
			200 path_open t200
			100 proc_fork a
			200 proc_exit t200
			-t200 22..23
			-a 20..40 dangling trace link t100
			-t100 10..40 dangling
			-S 10..40
			end`,
	},
	{
		name: "a late parent under a thread that was forgotten could make a circle",
		max:  bounds{ended: 1},
		in: `session 1
			20 2 open
			21 4^2 open
			22 3^4 open
			23 4 exit
			24 9 open
			25 9 exit
			26 10 open
			27 2^3 exit
			end 40`,
		want: `+S 10
			+t2 <S 20
			2 path_open t2
			+t4 <t2 21
			4 path_open t4
			+t3 <t4 22
			3 path_open t3
			4 proc_exit t4
			-t4 21..23
			+t9 <S 24
			9 path_open t9
			9 proc_exit t9
			-t9 24..25
			+t10 <S 26
			10 path_open t10
			2 proc_exit t2
			-t2 20..27
			-t3 22..40 dangling
			-t10 26..40 dangling
			-S 10..40
			end`,
	},
}

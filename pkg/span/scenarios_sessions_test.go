package span

var sessionScenarios = []scenario{
	{
		name: "a loss falls into what is open",
		in: `session 100
			20 100 start a
			21 100 start b
			22 100 stop b
			lost
			23 100 start c
			24 100 stop c
			25 100 stop a
			26 200 exit
			end 40`,
		want: `+S 10
			+t100 <S 10
			+a <t100 20
			100 span_start a
			+b <a 21
			100 span_start b
			100 span_stop b
			-b 21..22
			lost
			+c <a 23
			100 span_start c
			100 span_stop c
			-c 23..24
			100 span_stop a
			-a 20..25 lossy
			+t200 <S 26
			200 proc_exit t200
			-t200 26..26
			-t100 10..40 dangling lossy
			-S 10..40 lossy
			end`,
	},
	{
		name: "events out of order are counted; a thread's span begins with the first in time",
		in: `session 1
			30 100 start a
			20 100 open
			25 100 stop a
			31 100 open
			end 40`,
		want: `+S 10
			+t100 <S 30
			+a <t100 30
			100 span_start a
			100 path_open a
			100 span_stop a
			-a 30..30
			100 path_open t100
			-t100 20..40 dangling
			-S 10..40
			end`,
		stats: Stats{OutOfOrder: 2},
	},
	{
		name: "without an end, and with a session behind it that begins anew",
		in: `session 100
			20 100 start a
			30 100 open
			session 100
			40 100 stop a
			clock 50`,
		want: `+S 10
			+t100 <S 10
			+a <t100 20
			100 span_start a
			100 path_open a
			-a 20..30 dangling
			-t100 10..30 dangling
			-S 10..30 dangling
			+S' 10
			+t100' <S' 10
			100 span_stop t100'
			clock
			-t100' 10..50 dangling
			-S' 10..50 dangling`,
		stats: Stats{UnknownStops: 1},
	},
	{
		name: "a session without events, and events behind an end",
		in: `session 1
			end 40
			raw
			50 100 open`,
		want: `+S 10
			-S 10..40
			end
			raw
			100 path_open -`,
		stats: Stats{Outside: 1},
	},
	{
		name: "a capture: vivarium closes methods at the session's stop and the main thread not at its exit",
		in: `session 100 capture 40
			20 200 start a
			21 200 exit
			22 100 exit
			23 100 open
			end 40`,
		want: `+S 10
			+t200 <S 20
			+a <t200 20
			200 span_start a
			200 proc_exit a
			-t200 20..21
			+t100 <S 10
			100 proc_exit t100
			100 path_open t100
			-a 20..40 dangling
			-t100 10..40
			-S 10..40
			end`,
	},
	{
		name: "a capture: a stop after its thread's exit ends its method, and what was open in that",
		in: `session 100 capture 40
			20 200 start a
			21 200 start b
			22 200 start c
			23 200 exit
			24 200 stop c
			25 200 open
			26 200 stop x
			27 200 stop a
			28 200 stop a
			end 40`,
		want: `+S 10
			+t200 <S 20
			+a <t200 20
			200 span_start a
			+b <a 21
			200 span_start b
			+c <b 22
			200 span_start c
			200 proc_exit c
			-t200 20..23
			200 span_stop c
			-c 22..24
			200 path_open b
			200 span_stop t200
			200 span_stop a
			-b 21..27 dangling
			-a 20..27
			200 span_stop t200
			-S 10..40
			end`,
		stats: Stats{Late: 1, UnknownStops: 1},
	},
	{
		name: "a capture: methods that start after their thread's exit",
		in: `session 100 capture 40
			20 200 open
			21 200 exit
			22 200 open
			23 200 start a
			24 200 start b
			25 200 open
			26 200 raise
			27 200 stop b
			28 200 stop a
			29 200 open
			30 200 start c
			31 200 exit
			end 40`,
		want: `+S 10
			+t200 <S 20
			200 path_open t200
			200 proc_exit t200
			-t200 20..21
			200 path_open t200
			+a <t200 23
			200 span_start a
			+b <a 24
			200 span_start b
			200 path_open b
			200 span_raise b
			200 span_stop b
			-b 24..27 raised
			200 span_stop a
			-a 23..28
			200 path_open t200
			+c <t200 30
			200 span_start c
			200 proc_exit c
			-c 30..40 dangling
			-S 10..40
			end`,
		stats: Stats{Late: 2},
	},
	{
		name: "a start after its thread's exit, in a stream of viv's own",
		in: `session 100
			20 200 open
			21 200 exit
			22 200 start a
			23 200 open
			24 200 stop a
			end 40`,
		want: `+S 10
			+t200 <S 20
			200 path_open t200
			200 proc_exit t200
			-t200 20..21
			200 span_start t200
			200 path_open t200
			200 span_stop t200
			-S 10..40
			end`,
		stats: Stats{Late: 3},
	},
	{
		name: "a capture: methods that outlive their thread end with the session when its tid is used again",
		in: `session 100 capture 40
			20 200 start a
			21 200 exit
			22 200#7 open
			23 200#7 stop a
			24 300 start b
			25 300 exit
			26 100 fork 300
			27 300#9 stop b
			end 40`,
		want: `+S 10
			+t200 <S 20
			+a <t200 20
			200 span_start a
			200 proc_exit a
			-t200 20..21
			-a 20..40 dangling
			+t200' <S 22
			200 path_open t200'
			200 span_stop t200'
			+t300 <S 24
			+b <t300 24
			300 span_start b
			300 proc_exit b
			-t300 24..25
			+t100 <S 10
			-b 24..40 dangling
			100 proc_fork t100
			+t300' <t100 27
			300 span_stop t300'
			-t200' 22..40 dangling
			-t100 10..40
			-t300' 27..40 dangling
			-S 10..40
			end`,
		stats: Stats{UnknownStops: 2},
	},
	{
		name: "a stop after its thread's exit, in a stream of viv's own",
		in: `session 100
			20 200 start a
			21 200 exit
			22 200 stop a
			end 40`,
		want: `+S 10
			+t200 <S 20
			+a <t200 20
			200 span_start a
			200 proc_exit a
			-a 20..21 dangling
			-t200 20..21
			200 span_stop t200
			-S 10..40
			end`,
		stats: Stats{Late: 1},
	},
}

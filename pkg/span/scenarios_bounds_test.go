package span

var boundScenarios = []scenario{
	{
		name: "the thread that was silent for longest makes room",
		max:  bounds{open: 3},
		in: `session 1
			20 5 open
			21 6 open
			22 5 open
			23 7 open
			24 5 open
			end 40`,
		want: `+S 10
			+t5 <S 20
			5 path_open t5
			+t6 <S 21
			6 path_open t6
			5 path_open t5
			-t6 21..21 dangling
			+t7 <S 23
			7 path_open t7
			5 path_open t5
			-t5 20..40 dangling
			-t7 23..40 dangling
			-S 10..40
			end`,
		stats: Stats{Evicted: 1},
	},
	{
		name: "what happens in a method that was not opened is not the outer one's",
		max:  bounds{perThread: 2},
		in: `session 100
			20 100 start a
			21 100 start b
			22 100 raise
			23 100 stop b
			24 100 stop a
			end 40`,
		want: `+S 10
			+t100 <S 10
			+a <t100 20
			100 span_start a
			100 span_start a
			100 span_raise a
			100 span_stop a
			100 span_stop a
			-a 20..24
			-t100 10..40 dangling
			-S 10..40
			end`,
		stats: Stats{NotOpened: 1},
	},
	{
		name: "methods that outlive their thread are closed when there is no room for them",
		max:  bounds{open: 6, ended: 1},
		in: `session 100 capture 40
			20 200 start a
			21 200 exit
			22 300 start b
			23 300 exit
			24 300 stop b
			25 400 start c
			26 400 start d
			27 400 exit
			end 40`,
		want: `+S 10
			+t200 <S 20
			+a <t200 20
			200 span_start a
			200 proc_exit a
			-t200 20..21
			+t300 <S 22
			+b <t300 22
			300 span_start b
			300 proc_exit b
			-b 22..40 dangling
			-t300 22..23
			-a 20..40 dangling
			300 span_stop t300
			+t400 <S 25
			+c <t400 25
			400 span_start c
			+d <c 26
			400 span_start d
			400 proc_exit d
			-d 26..40 dangling
			-c 25..40 dangling
			-t400 25..27
			-S 10..40
			end`,
		stats: Stats{Late: 1},
	},
	{
		name: "a method that starts after its thread's exit ends no other thread",
		max:  bounds{open: 6},
		in: `session 100 capture 40
			20 200 exit
			21 300 open
			22 200 start a
			23 200 start b
			24 200 open
			25 200 stop b
			26 200 stop a
			end 40`,
		want: `+S 10
			+t200 <S 20
			200 proc_exit t200
			-t200 20..20
			+t300 <S 21
			300 path_open t300
			+a <t200 22
			200 span_start a
			200 span_start a
			200 path_open a
			200 span_stop t200
			200 span_stop a
			-a 22..26
			-t300 21..40 dangling
			-S 10..40
			end`,
		stats: Stats{NotOpened: 1},
	},
}

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
}

package span

var methodScenarios = []scenario{
	{
		name: "methods nest",
		in: `session 100
			20 100 start a
			21 100 open
			22 100 start b
			23 100 raise
			24 100 open
			25 100 stop b
			26 100 open
			27 100 stop a
			28 100 open
			29 100 exit
			end 40`,
		want: `+S 10
			+t100 <S 10
			+a <t100 20
			100 span_start a
			100 path_open a
			+b <a 22
			100 span_start b
			100 span_raise b
			100 path_open b
			100 span_stop b
			-b 22..25 raised
			100 path_open a
			100 span_stop a
			-a 20..27
			100 path_open t100
			100 proc_exit t100
			-t100 10..29
			-S 10..40
			end`,
	},
	{
		name: "a lost stop: the outer one's stop closes both",
		in: `session 100
			20 100 start a
			21 100 start b
			22 100 start c
			23 100 stop x
			24 100 stop a
			25 100 stop b
			end 40`,
		want: `+S 10
			+t100 <S 10
			+a <t100 20
			100 span_start a
			+b <a 21
			100 span_start b
			+c <b 22
			100 span_start c
			100 span_stop c
			100 span_stop a
			-c 22..24 dangling
			-b 21..24 dangling
			-a 20..24
			100 span_stop t100
			-t100 10..40 dangling
			-S 10..40
			end`,
		stats: Stats{UnknownStops: 2},
	},
	{
		name: "a stop without a name closes the innermost; recursion closes the inner one",
		in: `session 100
			20 100 start f
			21 100 start f
			22 100 stop f
			23 100 start -
			24 100 stop -
			25 100 stop -
			26 100 stop -
			end 40`,
		want: `+S 10
			+t100 <S 10
			+f <t100 20
			100 span_start f
			+f' <f 21
			100 span_start f'
			100 span_stop f'
			-f' 21..22
			+<anonymous> <f 23
			100 span_start <anonymous>
			100 span_stop <anonymous>
			-<anonymous> 23..24
			100 span_stop f
			-f 20..25
			100 span_stop t100
			-t100 10..40 dangling
			-S 10..40
			end`,
		stats: Stats{UnknownStops: 1},
	},
	{
		name: "threads have stacks of their own, and an exit closes its own",
		in: `session 100
			20 100 start a
			21 100 thread 101
			22 100/101^100 start w
			23 100 open
			24 100 stop w
			25 100/101 exit
			26 100 exit
			end 40`,
		want: `+S 10
			+t100 <S 10
			+a <t100 20
			100 span_start a
			100 proc_fork a
			+t101 <a 22
			+w <t101 22
			101 span_start w
			100 path_open a
			100 span_stop a
			101 proc_exit w
			-w 22..25 dangling
			-t101 22..25
			100 proc_exit a
			-a 20..26 dangling
			-t100 10..26
			-S 10..40
			end`,
		stats: Stats{UnknownStops: 1},
	},
	{
		name:      "a trace for each method",
		perMethod: true,
		in: `session 100
			20 100 start a
			21 100 start b
			22 100 fork 200
			23 200 start c
			24 100 stop b
			25 100 stop a
			26 100 start d
			end 40`,
		want: `+S 10
			+t100 <S 10
			+a <- 20 trace link t100
			100 span_start a
			+b <a 21 trace
			100 span_start b
			100 proc_fork b
			+t200 <b 23 trace
			+c <t200 23 trace
			200 span_start c
			100 span_stop b
			-b 21..24 trace
			100 span_stop a
			-a 20..25 trace link t100
			+d <- 26 trace' link t100
			100 span_start d
			-d 26..40 dangling trace' link t100
			-c 23..40 dangling trace
			-t100 10..40 dangling
			-t200 23..40 dangling trace
			-S 10..40
			end`,
	},
	{
		name: "two threads with one id get two spans, and two starts at one time too",
		in: `session 1
			20 100#5 open
			21 200#5 open
			22 100#5 start a
			22 100#5 start b
			22 100#5 start c
			end 40`,
		want: `+S 10
			+t100 <S 20
			100 path_open t100
			+t200 <S 21
			200 path_open t200
			+a <t100 22
			100 span_start a
			+b <a 22
			100 span_start b
			+c <b 22
			100 span_start c
			-c 22..40 dangling
			-b 22..40 dangling
			-a 22..40 dangling
			-t100 20..40 dangling
			-t200 21..40 dangling
			-S 10..40
			end`,
	},
}

# Reads one log of `go test -v` per kernel, KERNEL.log, and prints a row for
# each test without subtests and a column for each kernel; below it why tests
# were skipped, and the output of failed tests. Then a table of each event on
# each kernel with each backend, from TestEvents/BACKEND/EVENT/ROW: pass means
# that all rows passed. Then the BPF program for which the verifier needed most
# instructions. Exit status 1 if a test failed, a log is incomplete or no test
# passed.

function name_of(line) {
	sub(/^ *--- [A-Z]*: /, "", line)
	sub(/ \([0-9.]+s\)$/, "", line)
	return line
}

function set(name, what) {
	result[package " " name, kernel] = what
	count[what]++
}

FNR == 1 {
	kernel = FILENAME
	sub(/.*\//, "", kernel)
	sub(/\.log$/, "", kernel)
	kernels[++nkernels] = kernel
	current = ""
}

/^@@ package / { package = $3; current = ""; next }
/^(PASS|FAIL)$/ { next }
/^@@ failed/ { bad[kernel] = 1; next }
$0 == "@@ done" { ended[kernel] = 1; next }

/^=== (RUN|NAME|CONT|PAUSE)/ {
	current = $3
	if ($2 == "RUN") {
		started[package " " current, kernel] = 1
		parent = current
		while (sub(/\/[^\/]*$/, "", parent)) inner[package " " parent] = 1
		key = package " " current
		if (current == "TestEvents") events_package = package
		if (!(key in row)) {
			row[key] = ++rows
			name_at[rows] = key
		}
	}
	next
}
/^ *--- PASS: / { set(name_of($0), "pass"); next }
/^ *--- FAIL: / { current = name_of($0); set(current, "FAIL"); next }
/^ *--- SKIP: / {
	name = name_of($0)
	why = last[package " " name, kernel]
	if (!(why in note)) {
		note[why] = ++notes
		note_at[notes] = why
	}
	set(name, "skip " note[why])
	next
}

# add counts the result of one row for its event.
function add(event, column, what) {
	if (!(event in event_row)) {
		event_row[event] = ++nevents
		event_at[nevents] = event
		if (length(event) > event_width) event_width = length(event)
	}
	if (cell[event, column] == "" || what ~ /^FAIL/ || (what ~ /^skip/ && cell[event, column] !~ /^FAIL/))
		cell[event, column] = what
}

# matrix prints the table of events. If a kernel does not have a backend, all its
# events are skipped, for the same reason.
function matrix(    i, k, b, e, key, part, column, what, backends, n) {
	n = split("lsm tracepoint", backends, " ")
	for (i = 1; i <= rows; i++) {
		key = name_at[i]
		if (split(key, part, "/") < 3 || key !~ / TestEvents\//) continue
		sub(/^.* TestEvents\//, "", key)
		if (split(key, part, "/") < 3) continue
		for (k = 1; k <= nkernels; k++) {
			what = result[name_at[i], kernels[k]]
			if (what != "") add(part[2], kernels[k] " " part[1], what)
		}
	}
	if (!nevents) return
	printf "\n%-*s", event_width + 2, "event"
	for (k = 1; k <= nkernels; k++)
		for (b = 1; b <= n; b++) printf "%-17s", kernels[k] " " backends[b]
	print ""
	for (e = 1; e <= nevents; e++) {
		printf "%-*s", event_width + 2, event_at[e]
		for (k = 1; k <= nkernels; k++)
			for (b = 1; b <= n; b++) {
				column = kernels[k] " " backends[b]
				what = cell[event_at[e], column]
				if (what == "") what = result[events_package " TestEvents/" backends[b], kernels[k]]
				if (what == "") { what = "FAIL"; status = 1 } # it was not run
				printf "%-17s", what
			}
		print ""
	}
}

/ instructions verified$/ && $(NF - 2) > verified[kernel] + 0 {
	verified[kernel] = $(NF - 2)
	verified_of[kernel] = $(NF - 3)
}

current != "" {
	out[package " " current, kernel] = out[package " " current, kernel] $0 "\n"
	line = $0
	sub(/^ *([A-Za-z0-9_.]+\.go:[0-9]+: )?/, "", line)
	last[package " " current, kernel] = line
}

END {
	for (i = 1; i <= rows; i++) {
		key = name_at[i]
		if (!(key in inner) && length(key) > width) width = length(key)
		for (k = 1; k <= nkernels; k++)
			if (result[key, kernels[k]] == "" && started[key, kernels[k]]) {
				result[key, kernels[k]] = "FAIL" # it never ended
				count["FAIL"]++
			}
	}
	for (i = 1; i <= rows; i++) {
		key = name_at[i]
		for (k = 1; k <= nkernels; k++)
			if (result[key, kernels[k]] == "FAIL" && out[key, kernels[k]] != "")
				printf "--- FAIL on %s: %s\n%s\n", kernels[k], key, out[key, kernels[k]]
	}

	printf "%-*s", width + 2, "test"
	for (k = 1; k <= nkernels; k++) printf "%-9s", kernels[k]
	print ""
	for (i = 1; i <= rows; i++) {
		key = name_at[i]
		if (key in inner) continue
		printf "%-*s", width + 2, key
		for (k = 1; k <= nkernels; k++) {
			what = result[key, kernels[k]]
			if (what == "") what = "-"
			printf "%-9s", what
			leaf[what ~ /^skip/ ? "skip" : what]++
		}
		print ""
	}
	if (notes) print ""
	for (i = 1; i <= notes; i++) printf "skip %d: %s\n", i, note_at[i]

	status = 0
	matrix()
	for (k = 1; k <= nkernels; k++)
		if (kernels[k] in verified)
			printf "%s%s: at most %d instructions of a program verified (%s), of 1000000\n",
				k == 1 ? "\n" : "", kernels[k], verified[kernels[k]], verified_of[kernels[k]]
	for (k = 1; k <= nkernels; k++) {
		if (!ended[kernels[k]]) { print kernels[k] ": the run is incomplete"; status = 1 }
		if (bad[kernels[k]]) status = 1
	}
	printf "\n%d passed, %d failed, %d skipped\n", leaf["pass"], leaf["FAIL"], leaf["skip"]
	exit status || count["FAIL"] || !leaf["pass"]
}

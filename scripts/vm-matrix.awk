# Reads one log of `go test -v` per kernel, KERNEL.log, and prints a row for
# each test that has no subtests and a column for each kernel; below it why a
# test was skipped, and what failed tests said. Exit status 1 if any failed, if
# a log has no end or if none passed.

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
	for (k = 1; k <= nkernels; k++) {
		if (!ended[kernels[k]]) { print kernels[k] ": did not reach its end"; status = 1 }
		if (bad[kernels[k]]) status = 1
	}
	printf "\n%d passed, %d failed, %d skipped\n", leaf["pass"], leaf["FAIL"], leaf["skip"]
	exit status || count["FAIL"] || !leaf["pass"]
}

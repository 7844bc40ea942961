# Reads the output of `go test -v`. Prints the last line of each package, the
# output of its failed tests, and at the end the skipped tests and the counts.

function keep(line) { out[current] = out[current] line "\n"; all = all line "\n" }

function name_of(line) {
	sub(/^ *--- [A-Z]*: /, "", line)
	sub(/ \([0-9.]+s\)$/, "", line)
	return line
}

/^=== (RUN|NAME|CONT|PAUSE)/ { current = $3; next }
/^=== / || /^PASS$/ || /^FAIL$/ { next }

/^ *--- PASS: / { passed++; next }
/^ *--- SKIP: / {
	name = name_of($0)
	skipped[++skips] = name
	reason[skips] = last[name]
	next
}
/^ *--- FAIL: / {
	failed++
	current = name_of($0)
	failures[++nfailures] = current
	next
}

# A package's end.
/^(ok|FAIL|\?|---) ? ?\t/ || /^\t.*coverage: / {
	if ($1 == "FAIL") {
		bad = 1
		if (nfailures == 0 || all ~ /(^|\n)(panic|fatal error): /) {
			for (i = 1; i <= nfailures; i++) print "--- FAIL: " failures[i]
			printf "%s", all
		} else {
			for (i = 1; i <= nfailures; i++)
				printf "--- FAIL: %s\n%s", failures[i], out[failures[i]]
		}
	}
	print
	fflush()
	for (i = shown + 1; i <= skips; i++) where[i] = $2
	shown = skips
	split("", out); split("", last); split("", failures)
	nfailures = 0; all = ""; current = ""
	next
}

# Output that belongs to no test, such as a failed build.
current == "" { print; next }

{
	keep($0)
	line = $0
	sub(/^ *([A-Za-z0-9_.]+\.go:[0-9]+: )?/, "", line)
	last[current] = line
}

END {
	if (current != "") printf "%s", all # the run itself was cut
	if (skips) print "\nSkipped:"
	for (i = 1; i <= skips; i++) printf "  %s %s: %s\n", where[i], skipped[i], reason[i]
	if (uid != 0) print "\nNot root: the tests that load BPF programs did not run. Run make test as root."
	printf "\n%d passed, %d failed, %d skipped\n", passed, failed, skips
	exit bad || failed || passed == 0
}

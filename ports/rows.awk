# Read by `measure` of a port: lines of a row's two words, a round and its nanoseconds. The first row is what the others are compared
# with: by the lowest of all rounds, and by the median of the rounds' ratios. `title` stands above, and `names` is what to call the rows:
# "shipped alone=shipped|...".
{
	row = $1 " " $2
	if (!(row in seen)) { seen[row] = 1; rows[++count] = row }
	time[row, $3] = $4
	if ($3 > rounds) rounds = $3
}
function sorted(n,   i, j, keep) {
	for (i = 2; i <= n; i++) { keep = list[i]; for (j = i - 1; j > 0 && list[j] > keep; j--) list[j + 1] = list[j]; list[j + 1] = keep }
}
END {
	for (i = split(names, pairs, "|"); i; i--) { split(pairs[i], pair, "="); called[pair[1]] = pair[2] }
	printf "\n%-44s%9s%9s%9s%9s\n", title ", ns", "lowest", "median", "ratio", "median"
	for (r = 1; r <= count; r++) {
		row = rows[r]
		for (i = 1; i <= rounds; i++) list[i] = time[row, i] / time[rows[1], i]
		sorted(rounds); ratio = list[int((rounds + 1) / 2)]
		for (i = 1; i <= rounds; i++) list[i] = time[row, i]
		sorted(rounds)
		if (r == 1) first = list[1]
		printf "  %-42s%9.2f%9.2f%9.2f%9.2f\n", called[row], list[1], list[int((rounds + 1) / 2)], list[1] / first, ratio
	}
}

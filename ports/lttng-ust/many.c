/* What events cost that nobody has enabled: `many warm|cold MILLISECONDS` tells the nanoseconds of one, the fastest of many laps. Warm are 64
 * in a row, again and again. Cold are 1024, each in a function of its own, called once each in a scattered order, after the caches were
 * filled with other things. `many count LAPS` makes so many warm laps, for a tool that counts instructions. With -DNOTHING there are no
 * events in their places. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#define LTTNG_UST_TRACEPOINT_DEFINE
#define LTTNG_UST_TRACEPOINT_PROBE_DYNAMIC_LINKAGE
#include <lttng/tracepoint.h>

#define EVENT(name) LTTNG_UST_TRACEPOINT_EVENT(port, name, LTTNG_UST_TP_ARGS(int, number), LTTNG_UST_TP_FIELDS())
#include "many.h"
#undef EVENT

#ifdef NOTHING
#define FIRE(name) __asm__ volatile("" : : "r"(number));
#else
#define FIRE(name) lttng_ust_tracepoint(port, name, number);
#endif
#define EVENT(name) __attribute__((noinline, aligned(64))) static void fire_##name(int number) { FIRE(name) }
#include "many.h"
#undef EVENT

static void (*const fires[])(int) = {
#define EVENT(name) fire_##name,
#include "many.h"
};
enum { FIRES = sizeof fires / sizeof *fires, ROW = 64, ROWS = 100, OTHER = 64 << 20 };

static void row(int number)
{
	EACH_OF_64(FIRE)
}

static void warm(void)
{
	for (int at = 0; at < ROWS; at++)
		row(at);
}

static void cold(void)
{
	for (int at = 0; at < FIRES; at++)
		fires[at * 389 % FIRES](at);
}

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1e9 + time.tv_nsec;
}

int main(int count, char **words)
{
	int is_cold = count == 3 && !strcmp(words[1], "cold");
	char *other = is_cold ? malloc(OTHER) : NULL;
	double end, best = 1e18;

	if (count != 3 || (is_cold && !other))
		return 1;
	if (!strcmp(words[1], "count")) {
		for (int laps = atoi(words[2]); laps; laps--)
			warm();
		return 0;
	}
	end = now() + atof(words[2]) * 1e6;
	do {
		double before, each;

		if (is_cold)
			memset(other, ++*other, OTHER);
		before = now();
		if (is_cold)
			cold();
		else
			warm();
		each = (now() - before) / (is_cold ? FIRES : ROW * ROWS);
		if (each < best)
			best = each;
	} while (now() < end);
	printf("%.3f\n", best);
	return 0;
}

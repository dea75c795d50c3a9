/* Readers' pairs of urcu_memb_read_lock and urcu_memb_read_unlock: `pairs MILLISECONDS` tells the nanoseconds of one, the fastest
 * of many short batches. With -D_LGPL_SOURCE they are inlined, else calls into the library. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <urcu/urcu-memb.h>
#ifdef URCU_INVAR_KEY_HERE
URCU_MEMB_INVAR_KEY();
#endif

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1e9 + time.tv_nsec;
}

int main(int count, char **words)
{
	const int pairs = 10000;
	double end, best = 1e9;

	if (count != 2)
		return 1;
	urcu_memb_register_thread();
	end = now() + atof(words[1]) * 1e6;
	do {
		double before = now(), each;

		for (int pair = 0; pair < pairs; pair++) {
			urcu_memb_read_lock();
			urcu_memb_read_unlock();
		}
		each = (now() - before) / pairs;
		if (each < best)
			best = each;
	} while (now() < end);
	urcu_memb_unregister_thread();
	printf("%.3f\n", best);
	return 0;
}

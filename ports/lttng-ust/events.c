/* Fires two events ten times for each line on its standard input, with the line's number, and says so: for `build`, which enables and
 * disables them in between. */
#define LTTNG_UST_TRACEPOINT_CREATE_PROBES
#define LTTNG_UST_TRACEPOINT_DEFINE
#include "events.h"

int main(void)
{
	char line[80];

	for (int number = 1; fgets(line, sizeof line, stdin); number++) {
		for (int time = 0; time < 10; time++) {
			lttng_ust_tracepoint(port, one, number);
			lttng_ust_tracepoint(port, other, number);
		}
		printf("%d\n", number);
		fflush(stdout);
	}
	return 0;
}

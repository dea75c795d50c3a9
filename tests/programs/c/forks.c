/* Four children of fork, each in sections of its own at the same time. */

#include <invar.h>
#include <sys/wait.h>
#include <unistd.h>

#define SHORT 300000
#define LONG 30000

static volatile long sum;

static void one(void)
{
	int i;

	for (i = 0; i < SHORT; i++) {
		invar_slice_enter();
		sum += 1;
		invar_slice_leave();
	}
}

static void other(void)
{
	int i, step;

	for (i = 0; i < LONG; i++) {
		invar_slice_enter();
		for (step = 0; step < 2000; step++)
			sum += 2;
		invar_slice_leave();
	}
}

int main(void)
{
	int child, status, failed = 0;

	for (child = 0; child < 4; child++)
		if (fork() == 0) {
			(child % 2 ? other : one)();
			_exit(0);
		}
	while (wait(&status) > 0)
		failed |= status;
	return failed;
}

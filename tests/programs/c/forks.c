/* Two children of fork, each in sections of its own at the same time. */

#include <invar.h>
#include <sys/wait.h>
#include <unistd.h>

#define SECTIONS 100000

static volatile long sum;

static void one(void)
{
	int i;

	for (i = 0; i < SECTIONS; i++) {
		invar_slice_enter();
		sum += 1;
		invar_slice_leave();
	}
}

static void other(void)
{
	int i, step;

	for (i = 0; i < SECTIONS; i++) {
		invar_slice_enter();
		for (step = 0; step < 20; step++)
			sum += 2;
		invar_slice_leave();
	}
}

int main(void)
{
	int child, status, failed = 0;

	for (child = 0; child < 2; child++)
		if (fork() == 0) {
			(child ? other : one)();
			_exit(0);
		}
	while (wait(&status) > 0)
		failed |= status;
	return failed;
}

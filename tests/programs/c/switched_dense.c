/* Sites of a switch among so many of a key that some of these lie in two pages, and where memory that was writable cannot become
 * executable: switched_dense. What was set is said, and what the sites say, a line each time. */

#include <invar.h>
#include <stdio.h>
#include <sys/prctl.h>

static void on(struct invar_verdict *verdict) { verdict->value = 1; }
INVAR_KEY(dense_fixed, on);

static void off(struct invar_verdict *verdict) { (void)verdict; }
INVAR_SWITCH(dense_switch, off);

#define ONE if (invar_branch(dense_fixed)) number++;
#define FOUR ONE ONE ONE ONE
#define SIXTEEN FOUR FOUR FOUR FOUR
#define MANY SIXTEEN SIXTEEN SIXTEEN SIXTEEN
#define PAGES MANY MANY MANY MANY MANY MANY MANY MANY MANY MANY MANY MANY MANY MANY MANY MANY

__attribute__((noinline)) static unsigned count(unsigned number)
{
	PAGES
	if (invar_branch(dense_switch))
		number += 10000;
	PAGES
	return number;
}

int main(void)
{
	/* Linux 6.3, include/uapi/linux/prctl.h: PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN. */
	int refused = prctl(65, 1, 0, 0, 0), round;

	for (round = 0; round < 4; round++) {
		int code = invar_set("dense_switch", round % 2 ? "off" : "on");

		printf("%d %d %u\n", refused, code, count(0));
	}
	return 0;
}

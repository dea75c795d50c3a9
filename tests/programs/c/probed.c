/* As the Rust program of this name. */
#include <invar.h>
#include <stdio.h>

static void is_on(struct invar_verdict *verdict) { verdict->value = 1; }
static void is_off(struct invar_verdict *verdict) { (void)verdict; }
INVAR_KEY(probed_on, is_on);
INVAR_KEY(probed_off, is_off);

__attribute__((noinline)) static unsigned on(void) { return invar_branch(probed_on) ? 1 : 10; }
__attribute__((noinline)) static unsigned off(void) { return invar_branch(probed_off) ? 100 : 1000; }
__attribute__((noinline)) static void section(volatile unsigned *count)
{
	invar_slice_enter();
	*count += 10000;
	invar_slice_leave();
}

int main(void)
{
	do {
		volatile unsigned sum = 0;

		for (int i = 0; i < 100; i++) {
			sum += on() + off();
			section(&sum);
		}
		printf("%u\n", sum);
		fflush(stdout);
	} while (getchar() != EOF);
	return 0;
}

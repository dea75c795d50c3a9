/* What the resolvers of invar-ifunc.h take the CPU to have, in the order of arch/x86_64/cpu.rs; then what other CPUs would have. */

#include <invar-ifunc.h>
#include <stdio.h>

static uint32_t random_state = 1;

static uint32_t next(void)
{
	random_state = random_state * 1664525 + 1013904223;
	return random_state >> 8;
}

/* Most bits set, so that what builds on others is often there. */
static uint32_t word(void)
{
	uint32_t bits = ~UINT32_C(0);
	unsigned left = next() % 4;

	while (left--)
		bits &= ~(UINT32_C(1) << next() % 32);
	return bits;
}

int main(void)
{
	uint32_t said[10];
	int round, at;

	printf("%#llx\n", (unsigned long long)invar_cpu_features_());
	for (round = 0; round < 20000; round++) {
		for (at = 0; at < 10; at++)
			printf("%u ", said[at] = word());
		at = (int)(word() & 0xff);
		printf("%d %llu\n", at, (unsigned long long)invar_cpu_features_of_(said, (uint32_t)at));
	}
	return 0;
}

/* A shared library with constants whose names others in its process have as well. */
#include <invar.h>
#include <stdio.h>

static void probe_line(struct invar_verdict *verdict)
{
	verdict->data = 98;
	invar_evidence(verdict, "C's");
}
static void probe_own(struct invar_verdict *verdict) { verdict->data = 0xfedcba9876543210; }
static void probe_failing(struct invar_verdict *verdict) { verdict->origin = INVAR_ORIGIN_FAILED; }
static void probe_large(struct invar_verdict *verdict) { verdict->data = 256; }
static void probe_asks(struct invar_verdict *verdict);

/* A name in C has no dot. */
INVAR_CONSTANT(numbers_asks, uint32_t, probe_asks);
INVAR_CONSTANT_FALLBACK(numbers_shared, uint32_t, probe_line, 4);
INVAR_CONSTANT(numbers_own, size_t, probe_own);
INVAR_CONSTANT_FALLBACK(numbers_failing, uint16_t, probe_failing, 12);
INVAR_CONSTANT_FALLBACK(numbers_large, uint8_t, probe_large, 13);

static void probe_asks(struct invar_verdict *verdict) { verdict->data = invar_constant(numbers_shared) + 1; }

void tell_story(void);
void tell_story(void)
{
	int agree = INVAR_VALUE(numbers_shared) == invar_constant(numbers_shared) && INVAR_VALUE(numbers_own) == invar_constant(numbers_own);

	printf("result\tC: shared\t%u\n", INVAR_VALUE(numbers_shared));
	printf("result\tC: own\t%zx\n", INVAR_VALUE(numbers_own));
	printf("result\tC: failing\t%u\n", INVAR_VALUE(numbers_failing));
	printf("result\tC: large\t%u\n", INVAR_VALUE(numbers_large));
	printf("result\tC: asks\t%u\n", INVAR_VALUE(numbers_asks));
	printf("chose\tC: sites and constants\t%d\t1\n", agree);
	fflush(stdout);
}

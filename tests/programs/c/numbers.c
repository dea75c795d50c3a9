/* A shared library with constants whose names others in its process have as well. */
#include <invar.h>
#include <stdbool.h>
#include <stdio.h>

static void probe_line(struct invar_verdict *verdict)
{
	verdict->data = 98;
	invar_evidence(verdict, "C's");
}
static void probe_own(struct invar_verdict *verdict) { verdict->data = 0xfedcba9876543210; }
static void probe_failing(struct invar_verdict *verdict) { verdict->origin = INVAR_ORIGIN_FAILED; }
static void probe_large(struct invar_verdict *verdict) { verdict->data = 256; }
static void probe_byte(struct invar_verdict *verdict) { verdict->data = 0xfe; }
static void probe_half(struct invar_verdict *verdict) { verdict->data = 0xfedc; }
static void probe_whole(struct invar_verdict *verdict) { verdict->data = 0x10000; }
static void probe_bit(struct invar_verdict *verdict) { verdict->data = 1; }
static void probe_two(struct invar_verdict *verdict) { verdict->data = 2; }
static void probe_asks(struct invar_verdict *verdict);

/* A name in C has no dot. */
INVAR_CONSTANT(numbers_asks, uint32_t, probe_asks);
INVAR_CONSTANT_FALLBACK(numbers_shared, uint32_t, probe_line, 4);
INVAR_CONSTANT(numbers_own, size_t, probe_own);
INVAR_CONSTANT_FALLBACK(numbers_failing, uint16_t, probe_failing, 12);
INVAR_CONSTANT_FALLBACK(numbers_large, uint8_t, probe_large, 13);
INVAR_CONSTANT(numbers_byte, uint8_t, probe_byte);
INVAR_CONSTANT(numbers_half, uint16_t, probe_half);
INVAR_CONSTANT_FALLBACK(numbers_too_large, uint16_t, probe_whole, 65535);
INVAR_CONSTANT(numbers_bit, bool, probe_bit);
INVAR_CONSTANT(numbers_two, bool, probe_two);

static void probe_asks(struct invar_verdict *verdict) { verdict->data = invar_constant(numbers_shared) + 1; }

/* Each by a site of its own, whose register is the first. */
#define SITE(name, type) __attribute__((noinline)) static type name##_here(void) { return INVAR_VALUE(name); }
SITE(numbers_byte, uint8_t)
SITE(numbers_half, uint16_t)
SITE(numbers_too_large, uint16_t)
SITE(numbers_bit, bool)
SITE(numbers_two, bool)

void tell_story(void);
void tell_story(void)
{
	int agree = INVAR_VALUE(numbers_shared) == invar_constant(numbers_shared) && INVAR_VALUE(numbers_own) == invar_constant(numbers_own);

	printf("result\tC: shared\t%u\n", INVAR_VALUE(numbers_shared));
	printf("result\tC: own\t%zx\n", INVAR_VALUE(numbers_own));
	printf("result\tC: failing\t%u\n", INVAR_VALUE(numbers_failing));
	printf("result\tC: large\t%u\n", INVAR_VALUE(numbers_large));
	printf("result\tC: asks\t%u\n", INVAR_VALUE(numbers_asks));
	printf("result\tC: byte\t%x %x\n", numbers_byte_here(), invar_constant(numbers_byte));
	printf("result\tC: half\t%x %x\n", numbers_half_here(), invar_constant(numbers_half));
	printf("result\tC: too large\t%u %u\n", numbers_too_large_here(), invar_constant(numbers_too_large));
	printf("result\tC: bits\t%d %d\n", numbers_bit_here(), numbers_two_here());
	printf("chose\tC: sites and constants\t%d\t1\n", agree);
	fflush(stdout);
}

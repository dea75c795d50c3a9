/* A library of four hundred functions, with a site of each kind in each of them. Each gives 1 more than it is given where the key `busy` is
 * off, and 2 more where it is on. */
#include <invar.h>

static void probe_busy(struct invar_verdict *verdict) { (void)verdict; }
INVAR_KEY(busy, probe_busy);

/* Nothing that a compiler knows. */
static inline int same(int x)
{
	__asm__ volatile("" : "+r"(x));
	return x;
}

#define FUNCTION(n) \
	static __attribute__((noinline)) int busy_##n(int x) \
	{ \
		int result; \
		invar_slice_enter(); \
		if (invar_branch(busy)) \
			result = same(x) + 2; \
		else \
			result = same(x) + 1; \
		invar_slice_leave(); \
		return same(result); \
	}
#define TEN(each, n) each(n##0) each(n##1) each(n##2) each(n##3) each(n##4) each(n##5) each(n##6) each(n##7) each(n##8) each(n##9)
#define HUNDRED(ten, n) ten(n##0) ten(n##1) ten(n##2) ten(n##3) ten(n##4) ten(n##5) ten(n##6) ten(n##7) ten(n##8) ten(n##9)
#define FUNCTIONS(n) TEN(FUNCTION, n)
#define ADDRESS(n) busy_##n,
#define ADDRESSES(n) TEN(ADDRESS, n)
HUNDRED(FUNCTIONS, 1) HUNDRED(FUNCTIONS, 2)
__attribute__((noinline)) int busy_spare(int x) { return same(x); }	/* nobody calls it */
HUNDRED(FUNCTIONS, 3) HUNDRED(FUNCTIONS, 4)

int (*const busy_functions[])(int) = { HUNDRED(ADDRESSES, 1) HUNDRED(ADDRESSES, 2) HUNDRED(ADDRESSES, 3) HUNDRED(ADDRESSES, 4) };
const int busy_count = sizeof busy_functions / sizeof *busy_functions;

/* Every macro of both headers, without a C library; where no site can be, too. Returns 0 if all is as it should be. */

#include <invar-ifunc.h>

static int probed;

static void probe_on(struct invar_verdict *verdict)
{
	probed++;
	verdict->value = 1;
}
INVAR_KEY(on, probe_on);
static void probe_third(struct invar_verdict *verdict)
{
	verdict->value = (uint8_t)(2 * invar_value(on));
}
INVAR_KEY_VALUES(third, probe_third, "none\0some\0all", 3);
INVAR_EXTERN_KEY(third);
INVAR_CPU_KEY(avx2);

static int one(void) { return 1; }
static int two(void) { return 2; }
static int three(void) { return 3; }
INVAR_DISPATCH(static, int, by_key, (void), (), on, one, two);
INVAR_DISPATCH(static, int, by_keys, (void), (), cpu_avx2, one, on, two, three);
INVAR_DISPATCH(static, int, by_both, (void), (), INVAR_AND(on, INVAR_NOT(cpu_avx2)), two,
	       INVAR_AND_3(INVAR_AT_LEAST(third, 1), on, INVAR_IS(third, 2)), one, three);
INVAR_POINTER(int, through, (void), INVAR_AND_3(INVAR_NOT(third), on, INVAR_AT_LEAST(third, 1)), one, INVAR_AND(on, third), two, three);
INVAR_IFUNC(int, by_loader, (void), (), two, avx2, one);

#ifdef __cplusplus
extern "C"
#endif
int by_loader(void);

static int section(int x)
{
	invar_slice_enter();
	x++;
	invar_slice_leave();
	return x;
}

int main(void)
{
	if (probed != 1 || !invar_branch(on) || !invar_branch_is(third, 2) || invar_value(third) != 2)
		return 1;
	if (by_key() != 1 || by_keys() != 2 - invar_branch(cpu_avx2) || by_loader() != 2 - invar_branch(cpu_avx2))
		return 2;
	if (by_both() != 2 - invar_branch(cpu_avx2) || (through() != 1 && through() != 3))
		return 3;
	return section(6) != 7;
}

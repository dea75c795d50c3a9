/* An audit library (rtld-audit(7)) that sees calls begin and return: glibc's loader then calls functions by way of a place of its
 * own, and a function that asks who called it is told that place. */

#define _GNU_SOURCE
#include <link.h>

unsigned la_version(unsigned version) { return version; }

unsigned la_objopen(struct link_map *map, Lmid_t list, uintptr_t *cookie)
{
	(void)map, (void)list, (void)cookie;
	return LA_FLG_BINDTO | LA_FLG_BINDFROM;
}

uintptr_t la_symbind64(Elf64_Sym *symbol, unsigned index, uintptr_t *from, uintptr_t *to, unsigned *flags, const char *name)
{
	(void)index, (void)from, (void)to, (void)flags, (void)name;
	return symbol->st_value;
}

Elf64_Addr la_x86_64_gnu_pltenter(Elf64_Sym *symbol, unsigned index, uintptr_t *from, uintptr_t *to, La_x86_64_regs *registers,
				  unsigned *flags, const char *name, long *frame)
{
	(void)index, (void)from, (void)to, (void)registers, (void)flags, (void)name;
	*frame = 256;
	return symbol->st_value;
}

unsigned la_x86_64_gnu_pltexit(Elf64_Sym *symbol, unsigned index, uintptr_t *from, uintptr_t *to, const La_x86_64_regs *before,
			       La_x86_64_retval *after, const char *name)
{
	(void)symbol, (void)index, (void)from, (void)to, (void)before, (void)after, (void)name;
	return 0;
}

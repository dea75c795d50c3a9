/* SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * What -linvar and -linvar-hook link beside the library: a reference that makes it needed, as those of the header do not, which
 * are weak. Linkers drop a library that nothing needs where --as-needed is in force, and many distributions have it so.
 */
void NEEDED(void);

/* clang 11 and 12 and gcc 10 have no such attribute; then --gc-sections can lose it. */
#if defined __has_attribute
#if __has_attribute(retain)
__attribute__((retain))
#endif
#endif
__attribute__((used, section(".data.rel.ro.invar_needed"))) static void (*const needed)(void) = NEEDED;

/* SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * What -linvar links beside the library: a reference that makes it needed, as those of the header do not, which are weak. Linkers
 * drop a library that nothing needs where --as-needed is in force, and many distributions have it so.
 */
extern int invar_load(void *outcome);

#if defined __has_attribute
#if __has_attribute(retain)
#define RETAINED , retain
#endif
#endif
#ifndef RETAINED
#define RETAINED
#endif

__attribute__((used, section(".data.rel.ro.invar_needed") RETAINED)) static int (*const needed)(void *) = invar_load;

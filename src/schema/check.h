/* SPDX-License-Identifier: Apache-2.0 */
/* The checker's own: its parts, each 0 or negative. */
#ifndef SCHEMA_CHECK_H
#define SCHEMA_CHECK_H

#include "schema/mof.h"

/* Values: whether one fits a type. */
int check_value(const struct mof_value *value, enum cim_type base, bool array,
		struct err *err);

/* Qualifiers: resolves those of one element that stands where SCOPE says, adds
 * those that it inherits from OVERRIDDEN's (NULL: nothing is overridden), and
 * checks that ValueMap and Values agree with each other and with BASE. */
int check_qualifiers(struct mof *mof, struct mof_qualifier **list,
		     const struct mof_qualifier *overridden, unsigned scope,
		     enum cim_type base, struct err *err);
int check_qualifier_types(struct mof *mof, struct err *err);
/* What the boolean qualifier NAME says; OTHERWISE if it is not there. */
bool check_true(struct mof_qualifier *list, const char *name, bool otherwise);
/* The string qualifier NAME, or NULL. */
const char *check_string(struct mof_qualifier *list, const char *name);

/* Members: one class, whose superclass was done before. */
int check_members(struct mof *mof, struct mof_class *class, struct err *err);
int check_methods(struct mof *mof, struct mof_class *class, struct err *err);
/* What check_members and check_methods share: the class that a reference or an
 * embedded instance names, and MaxLen. */
int check_type(struct mof *mof, struct mof_member *member, struct err *err);
/* `Override` is there if and only if something is overridden, and names it. */
int check_override(struct mof_qualifier *list, const char *name,
		   const struct mof_pos *pos, bool inherited, struct err *err);

#endif

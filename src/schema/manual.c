/* SPDX-License-Identifier: Apache-2.0 */
/* Writes a checked tree as a manual page in POD: the class reference. */
#include "schema/mof.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* Text as POD: what would begin markup is escaped, and a newline would end the
 * paragraph if another one followed. */
static void put_text(FILE *out, const char *text)
{
	for (; *text; text++) {
		if (*text == '<')
			fputs("E<lt>", out);
		else if (*text == '>')
			fputs("E<gt>", out);
		else
			fputc(*text == '\n' ? ' ' : *text, out);
	}
}

static void put_description(FILE *out, struct mof_qualifier *list)
{
	struct mof_qualifier *q = mof_find_qualifier(list, "Description");

	if (!q || q->value.array || q->value.items->kind != MOF_TEXT)
		return;
	put_text(out, q->value.items->text);
	fputs("\n\n", out);
}

static void put_type(FILE *out, const struct mof_member *m)
{
	if (m->ref)
		fprintf(out, "%s REF", m->ref->name);
	else
		fputs(cim_type_name(m->base), out);
	if (m->array)
		fputs("[]", out);
	if (m->embedded)
		fprintf(out, " (an instance of %s)", m->embedded->name);
	if (m->embedded_object)
		fputs(" (an object)", out);
}

/* "0 = Unknown, 1 = Other." */
static void put_values(FILE *out, struct mof_qualifier *list)
{
	struct mof_qualifier *map = mof_find_qualifier(list, "ValueMap");
	struct mof_qualifier *values = mof_find_qualifier(list, "Values");
	const struct mof_literal *m = map ? map->value.items : NULL;
	const struct mof_literal *v = values ? values->value.items : NULL;
	unsigned n = 0;

	for (; m || v; n++) {
		fputs(n > 0 ? ", " : "Values: ", out);
		if (m)
			put_text(out, m->text);
		else
			fprintf(out, "%u", n);
		if (v) {
			fputs(" = ", out);
			put_text(out, v->text);
		}
		m = m ? m->next : NULL;
		v = v ? v->next : NULL;
	}
	if (n > 0)
		fputs(".\n\n", out);
}

static void put_property(FILE *out, const struct mof_member *m)
{
	fprintf(out, "=item B<%s> ", m->name);
	put_type(out, m);
	fprintf(out, "%s%s\n\n", m->key ? ", key" : "",
		m->write ? ", writable" : "");
	put_description(out, m->qualifiers);
	put_values(out, m->qualifiers);
}

static void put_parameter(FILE *out, const struct mof_member *m)
{
	fprintf(out, "=item I<%s> ", m->name);
	put_type(out, m);
	fprintf(out, ", %s\n\n",
		m->in && m->out ? "in and out"
		: m->in         ? "in"
				: "out");
	put_description(out, m->qualifiers);
	put_values(out, m->qualifiers);
}

static void put_method(FILE *out, const struct mof_method *m)
{
	fprintf(out, "=item B<%s>() returns %s\n\n", m->name,
		cim_type_name(m->result));
	put_description(out, m->qualifiers);
	put_values(out, m->qualifiers);
	if (!m->parameters)
		return;
	fputs("=over 4\n\n", out);
	for (const struct mof_member *p = m->parameters; p; p = p->next)
		put_parameter(out, p);
	fputs("=back\n\n", out);
}

/* What is inherited is only named: "From CIM_Job: Notify, Owner." */
static void put_inherited(FILE *out, const struct mof_class *c)
{
	const struct mof_class *from = NULL;

	for (unsigned i = 0; i < c->property_count; i++) {
		const struct mof_member *m = c->properties[i];

		if (m->declarer == c)
			continue;
		if (m->declarer != from) {
			if (from)
				fputs(".\n\n", out);
			fprintf(out, "From %s: %s", m->declarer->name, m->name);
		} else {
			fprintf(out, ", %s", m->name);
		}
		from = m->declarer;
	}
	if (from)
		fputs(".\n\n", out);
}

static void put_namespaces(const struct mof *mof, FILE *out,
			   const struct mof_class *c)
{
	const char *comma = "";

	fputs("In ", out);
	for (unsigned i = 0; i < mof->namespace_count; i++) {
		if (!(c->namespaces & 1u << i))
			continue;
		fprintf(out, "%s%s", comma, mof->namespaces[i]);
		comma = ", ";
	}
	fputs(".\n\n", out);
}

static void put_class(const struct mof *mof, FILE *out,
		      const struct mof_class *c)
{
	fprintf(out, "=head2 %s%s%s%s%s\n\n", c->abstract ? "abstract " : "",
		c->association ? "association " : "", c->name,
		c->superclass ? " : " : "",
		c->superclass ? c->superclass->name : "");
	put_description(out, c->qualifiers);
	put_namespaces(mof, out, c);
	if (c->own_properties || c->own_methods)
		fputs("=over 4\n\n", out);
	for (const struct mof_member *m = c->own_properties; m; m = m->next)
		put_property(out, m);
	for (const struct mof_method *m = c->own_methods; m; m = m->next)
		put_method(out, m);
	if (c->own_properties || c->own_methods)
		fputs("=back\n\n", out);
	put_inherited(out, c);
}

int mof_manual(const struct mof *mof, FILE *out)
{
	fputs("=pod\n\n=encoding UTF-8\n\n=for comment\n"
	      "SPDX-License-Identifier: Apache-2.0\n\n"
	      "=head1 NAME\n\nrefpoint-cim-classes - "
	      "the CIM classes that refpoint serves\n\n"
	      "=head1 DESCRIPTION\n\n"
	      "These are the classes of the schema, as GetClass gives them: "
	      "a class's own properties and methods, and the names of the "
	      "properties that it inherits. An abstract class has no "
	      "instances of its own.\n\n"
	      "=head1 CLASSES\n\n",
	      out);
	for (unsigned i = 0; i < mof->class_count; i++)
		put_class(mof, out, mof->by_index[i]);
	return ferror(out) ? -EIO : 0;
}

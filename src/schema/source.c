/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files, and what is above classes: pragmas.
 *
 * A namespace pragma stands in the first file only and holds until the next
 * one.  An include is read when it is first named; after that it only brings
 * its classes into the namespace in force (M4).
 */
#include "schema/parse.h"

#include <string.h>
#include <strings.h>

static struct mof_file *find_file(struct mof *mof, const char *name)
{
	for (unsigned i = 0; i < mof->file_count; i++)
		if (strcmp(mof->files[i].name, name) == 0)
			return &mof->files[i];
	return NULL;
}

/* A file that is in a namespace has its includes there as well. */
static void add_namespace(struct mof_file *file, uint32_t bit)
{
	struct mof_class *class = file->first_class;

	if (file->namespaces & bit)
		return;
	file->namespaces |= bit;
	while (class) {
		/* Those in between are of files that it includes. */
		class->namespaces |= bit;
		class = class == file->last_class ? NULL : class->next;
	}
	for (unsigned i = 0; i < file->include_count; i++)
		add_namespace(file->includes[i], bit);
}

static int check_utf8(const struct parser *p, const char *text, size_t bytes)
{
	struct mof_pos pos = p->lex.pos;

	for (size_t i = 0; i < bytes;) {
		unsigned char c = (unsigned char)text[i];
		size_t n = c < 0x80 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
		bool bad = (c >= 0x80 && c < 0xc2) || c > 0xf4 || i + n > bytes;

		for (size_t k = 1; !bad && k < n; k++)
			bad = ((unsigned char)text[i + k] & 0xc0) != 0x80;
		if (bad)
			return mof_error(p->err, &pos, "expected UTF-8");
		pos.column += (unsigned)n;
		if (c == '\n') {
			pos.line++;
			pos.column = 1;
		}
		i += n;
	}
	return 0;
}

static int read_text(struct parser *p)
{
	const char *text;
	size_t bytes;
	int rc = p->reader->read(p->reader->ctx, p->file->name, &text, &bytes,
				 p->err);

	if (rc < 0)
		return rc;
	p->lex.mof = p->mof;
	p->lex.pos = (struct mof_pos){p->file->name, 1, 1};
	if (bytes > MOF_FILE_BYTES_MAX)
		return mof_error(p->err, &p->lex.pos,
				 "expected at most %u bytes",
				 MOF_FILE_BYTES_MAX);
	p->lex.at = text;
	p->lex.end = text + bytes;
	return check_utf8(p, text, bytes);
}

/* NAME belongs to the tree. */
static int new_file(struct mof *mof, const char *name,
		    const struct mof_pos *pos, struct mof_file **ret_file,
		    struct err *err)
{
	if (mof->file_count == MOF_FILES_MAX)
		return mof_error(err, pos, "expected at most %d files",
				 MOF_FILES_MAX);
	*ret_file = &mof->files[mof->file_count++];
	(*ret_file)->name = name;
	return 0;
}

static void remember_include(struct mof_file *file, struct mof_file *included)
{
	for (unsigned i = 0; i < file->include_count; i++)
		if (file->includes[i] == included)
			return;
	file->includes[file->include_count++] = included;
}

/* The first file stands for all its namespaces, so it remembers none of its
 * includes. */
static int include(struct parser *p, const char *name,
		   const struct mof_pos *pos)
{
	struct mof_file *file = find_file(p->mof, name);
	struct parser inner = *p;
	int rc;

	if (file) {
		if (file->reading)
			return mof_error(p->err, pos, "\"%s\" includes itself",
					 name);
		add_namespace(file, 1u << *p->namespace);
	} else {
		if (p->depth == MOF_INCLUDE_DEPTH)
			return mof_error(p->err, pos,
					 "expected includes at most %d deep",
					 MOF_INCLUDE_DEPTH);
		rc = new_file(p->mof, name, pos, &file, p->err);
		if (rc < 0)
			return rc;
		inner.file = file;
		inner.depth++;
		file->namespaces = 1u << *p->namespace;
		file->reading = true;
		rc = read_text(&inner);
		if (rc == 0)
			rc = parse_file(&inner);
		file->reading = false;
		if (rc < 0)
			return rc;
	}
	if (p->depth > 0)
		remember_include(p->file, file);
	return 0;
}

static int set_namespace(struct parser *p, const char *name,
			 const struct mof_pos *pos)
{
	struct mof *mof = p->mof;
	unsigned i = 0;

	if (p->depth > 0)
		return mof_error(p->err, pos,
				 "expected no namespace in an included file");
	if (strlen(name) >= MOF_NAME_BYTES_MAX || *name == '\0' ||
	    strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_/") !=
		strlen(name))
		return mof_error(p->err, pos,
				 "expected a namespace of lower-case letters, "
				 "digits, '_' and '/'");
	while (i < mof->namespace_count &&
	       strcmp(mof->namespaces[i], name) != 0)
		i++;
	if (i == MOF_NAMESPACES_MAX)
		return mof_error(p->err, pos, "expected at most %d namespaces",
				 MOF_NAMESPACES_MAX);
	if (i == mof->namespace_count)
		mof->namespaces[mof->namespace_count++] = name;
	*p->namespace = i;
	return 0;
}

/* After "#pragma". */
int parse_pragma(struct parser *p)
{
	const char *name, *value;
	struct mof_pos name_pos = p->token.pos;
	struct mof_pos pos;
	int rc = parse_name(p, "a pragma's name", &name);

	if (rc == 0)
		rc = parse_sign(p, '(');
	pos = p->token.pos;
	if (rc == 0)
		rc = parse_text(p, &value);
	if (rc == 0)
		rc = parse_sign(p, ')');
	if (rc < 0)
		return rc;
	if (strcasecmp(name, "namespace") == 0)
		return set_namespace(p, value, &pos);
	if (strcasecmp(name, "include") == 0)
		return include(p, value, &pos);
	if (strcasecmp(name, "locale") == 0)
		return 0;
	return mof_error(p->err, &name_pos,
			 "expected the pragma namespace, include or locale");
}

static int parse_declaration(struct parser *p)
{
	struct mof_qualifier *qualifiers = NULL;
	int rc = parse_qualifiers(p, &qualifiers);

	if (rc < 0)
		return rc;
	if (!qualifiers && parse_at_name(p, "qualifier")) {
		rc = parse_advance(p);
		return rc < 0 ? rc : parse_qualifier_type(p);
	}
	if (!parse_at_name(p, "class"))
		return parse_expected(p, qualifiers ? "\"class\""
						    : "a pragma, a qualifier "
						      "declaration or a class");
	if (p->mof->namespace_count == 0)
		return mof_error(p->err, &p->token.pos,
				 "expected a pragma namespace before a class");
	rc = parse_advance(p);
	return rc < 0 ? rc : parse_class(p, qualifiers);
}

int parse_file(struct parser *p)
{
	int rc = parse_advance(p);

	while (rc == 0 && p->token.kind != TOKEN_END) {
		if (p->token.kind == TOKEN_PRAGMA) {
			rc = parse_advance(p);
			if (rc == 0)
				rc = parse_pragma(p);
		} else {
			rc = parse_declaration(p);
		}
	}
	return rc;
}

int mof_read(struct mof *mof, const struct mof_reader *reader, const char *name,
	     struct err *err)
{
	unsigned namespace = 0;
	struct parser p = {
	    .mof = mof,
	    .reader = reader,
	    .namespace = &namespace,
	    .err = err,
	};
	struct mof_pos pos = {name, 1, 1};
	int rc = new_file(mof, mof_text(mof, name, strlen(name)), &pos, &p.file,
			  err);

	if (rc < 0)
		return rc;
	p.file->reading = true;
	rc = read_text(&p);
	if (rc == 0)
		rc = parse_file(&p);
	p.file->reading = false;
	return rc;
}

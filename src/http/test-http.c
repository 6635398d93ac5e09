/* SPDX-License-Identifier: Apache-2.0 */
/* What needs no network: base64, attempts, files, messages in parts. */
#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "http/attempts.h"
#include "http/base64.h"
#include "http/certificate.h"
#include "http/clients.h"
#include "http/encrypted.h"
#include "http/server.h"
#include "http/users.h"

static char dir[] = "/tmp/test-http-XXXXXX";

static const char *file(const char *name)
{
	static char path[128];

	(void)snprintf(path, sizeof(path), "%s/%s", dir, name);
	return path;
}

static void put(const char *name, const char *text, mode_t mode)
{
	FILE *f = fopen(file(name), "w");

	assert_non_null(f);
	(void)fputs(text, f);
	(void)fclose(f);
	assert_int_equal(chmod(file(name), mode), 0);
}

static void the_zero_value_of_a_principal_is_denied(void **state)
{
	struct auth_verdict v = {0};

	assert_int_equal(v.principal.role, ROLE_DENIED);
	assert_int_equal(v.outcome, AUTH_REFUSED);
}

static void base64_is_read_and_written(void **state)
{
	static const char *pairs[][2] = {{"f", "Zg=="},
					 {"fo", "Zm8="},
					 {"foo", "Zm9v"},
					 {"foob", "Zm9vYg=="},
					 {"\xff\xfe\xfd", "//79"}};
	static const char *const bad[] = {
	    "",      "=",      "====",  "Zg",       "Zg=", "Z===",
	    "Zm9=v", "Zm9v\n", "Zm 9v", "Zg==Zg==", "-_-_"};
	uint8_t *data;
	size_t n;

	for (size_t i = 0; i < ARRAY_SIZE(pairs); i++) {
		char *text = base64_encode((const uint8_t *)pairs[i][0],
					   strlen(pairs[i][0]));

		assert_string_equal(text, pairs[i][1]);
		assert_int_equal(base64_decode(text, strlen(text), &data, &n),
				 0);
		assert_int_equal(n, strlen(pairs[i][0]));
		assert_memory_equal(data, pairs[i][0], n + 1);
		free(data);
		free(text);
	}
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_true(base64_decode(bad[i], strlen(bad[i]), &data, &n) <
			    0);
}

static struct sockaddr_in v4(const char *text)
{
	struct sockaddr_in sa = {.sin_family = AF_INET};

	assert_int_equal(inet_pton(AF_INET, text, &sa.sin_addr), 1);
	return sa;
}

static struct sockaddr_in6 v6(const char *text)
{
	struct sockaddr_in6 sa = {.sin6_family = AF_INET6};

	assert_int_equal(inet_pton(AF_INET6, text, &sa.sin6_addr), 1);
	return sa;
}

static void failures_count_by_name_and_address_and_are_forgotten(void **state)
{
	struct sockaddr_in one = v4("10.0.0.1"), two = v4("10.0.0.2");
	const struct sockaddr *a = (struct sockaddr *)&one;
	const struct sockaddr *b = (struct sockaddr *)&two;
	struct attempts *t;
	char name[16];

	assert_int_equal(attempts_open(&t, NULL), 0);
	for (unsigned i = 0; i < AUTH_ATTEMPTS_PER_PAIR; i++) {
		assert_true(attempts_allowed(t, "alice", a, 1000 + i));
		attempts_failed(t, "alice", a, 1000 + i);
	}
	assert_false(attempts_allowed(t, "alice", a, 2000));
	assert_true(attempts_allowed(t, "bob", a, 2000));
	assert_true(attempts_allowed(t, "alice", b, 2000));
	assert_true(attempts_allowed(t, "alice", a, 1000 + AUTH_ATTEMPTS_MS));
	/* many names from one address */
	for (unsigned i = 0; i < AUTH_ATTEMPTS_PER_PEER; i++) {
		(void)snprintf(name, sizeof(name), "n%u", i);
		attempts_failed(t, name, b, 2000);
	}
	assert_false(attempts_allowed(t, "never", b, 2001));
	assert_true(attempts_allowed(t, "never", a, 2001));
	attempts_close(t);
}

static void one_name_from_many_addresses_is_limited_too(void **state)
{
	struct sockaddr_in6 from = v6("2001:db8::1");
	struct attempts *t;

	assert_int_equal(attempts_open(&t, NULL), 0);
	for (unsigned i = 0; i < AUTH_ATTEMPTS_PER_NAME; i++) {
		from.sin6_addr.s6_addr[7] = (uint8_t)i; /* another /64 */
		attempts_failed(t, "alice", (struct sockaddr *)&from, 1000);
	}
	from.sin6_addr.s6_addr[7] = 0xff;
	assert_false(
	    attempts_allowed(t, "alice", (struct sockaddr *)&from, 1001));
	assert_true(attempts_allowed(t, "bob", (struct sockaddr *)&from, 1001));
	attempts_close(t);
}

static void a_64_of_ipv6_is_one_address(void **state)
{
	struct sockaddr_in6 a = v6("2001:db8::1"), b = v6("2001:db8::2:2");
	struct attempts *t;

	assert_int_equal(attempts_open(&t, NULL), 0);
	for (unsigned i = 0; i < AUTH_ATTEMPTS_PER_PEER; i++)
		attempts_failed(t, "", (struct sockaddr *)&a, 1000);
	assert_false(attempts_allowed(t, "x", (struct sockaddr *)&b, 1001));
	attempts_close(t);
}

static void a_success_is_remembered_for_a_minute(void **state)
{
	struct principal p = {ROLE_OPERATOR, "alice"}, got = {0};
	struct attempts *t;

	assert_int_equal(attempts_open(&t, NULL), 0);
	assert_false(attempts_recall(t, "alice", "pw", 1000, &got));
	attempts_remember(t, "alice", "pw", &p, 1000);
	assert_true(attempts_recall(t, "alice", "pw", 60999, &got));
	assert_int_equal(got.role, ROLE_OPERATOR);
	assert_false(attempts_recall(t, "alice", "pw", 61000, &got));
	assert_false(attempts_recall(t, "alicep", "w", 1000, &got));
	assert_false(attempts_recall(t, "alice", "pw2", 1000, &got));
	assert_false(attempts_recall(t, "", "alicepw", 1000, &got));
	/* more than there is room for: the oldest goes */
	for (unsigned i = 0; i < AUTH_CACHE_ENTRIES; i++) {
		char name[16];

		(void)snprintf(name, sizeof(name), "n%u", i);
		attempts_remember(t, name, "pw", &p, 2000 + i);
	}
	assert_false(attempts_recall(t, "alice", "pw", 3000, &got));
	assert_true(attempts_recall(t, "n255", "pw", 3000, &got));
	attempts_close(t);
}

static void users_are_written_and_checked(void **state)
{
	enum role role = ROLE_DENIED;
	struct err err = {0};
	struct users *u;
	struct stat st;

	put("users", "# ours\ncarl:*:operator\n", 0600);
	assert_int_equal(users_write(file("users"), "alice", "one",
				     ROLE_OPERATOR, (gid_t)-1, &err),
			 0);
	assert_int_equal(users_write(file("users"), "bob", "two",
				     ROLE_READ_ONLY, (gid_t)-1, &err),
			 0);
	assert_int_equal(users_write(file("users"), "alice", "three",
				     ROLE_READ_ONLY, (gid_t)-1, &err),
			 0);
	assert_int_equal(stat(file("users"), &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_int_equal(users_open(file("users"), false, &u, &err), 0);
	assert_false(users_check(u, "alice", "one", &role));
	assert_true(users_check(u, "alice", "three", &role));
	assert_int_equal(role, ROLE_READ_ONLY);
	assert_false(users_check(u, "carl", "*", &role));
	assert_false(users_has_password(u, "carl"));
	assert_true(users_role(u, "carl", &role));
	assert_int_equal(role, ROLE_OPERATOR);
	assert_false(users_check(u, "nobody", "one", &role));
	/* read anew when it changes, even to something broken */
	put("users", "alice:broken\n", 0600);
	assert_false(users_check(u, "alice", "three", &role));
	users_close(u);
	assert_int_equal(users_open(file("users"), false, &u, &err),
			 -RP_EPARAM);
	assert_non_null(strstr(err.text, "line 1"));
	for (const char *const *bad =
		 (const char *const[]){"", "a:b", "#x", "a\nb", NULL};
	     *bad; bad++)
		assert_int_equal(users_write(file("users"), *bad, "x",
					     ROLE_OPERATOR, (gid_t)-1, &err),
				 -RP_EPARAM);
}

static void certificates_map_to_names(void **state)
{
	struct client_certificate c = {.valid_now = true,
				       .subject = "CN=b,O=x y"};
	struct clients *map;
	struct err err = {0};
	char line[256] = "alice sha256:";

	(void)memset(c.sha256, 0xab, sizeof(c.sha256));
	for (int i = 0; i < 32; i++)
		(void)strcat(line, i ? ":AB" : "ab");
	(void)strcat(line, "\nbob\tsubject:CN=b,O=x y\n");
	put("map", line, 0600);
	assert_int_equal(clients_open(file("map"), false, &map, &err), 0);
	assert_string_equal(clients_find(map, &c), "alice");
	c.sha256[0] = 0;
	assert_null(clients_find(map, &c)); /* nobody stands for the subject */
	c.verified = true;
	assert_string_equal(clients_find(map, &c), "bob");
	c.valid_now = false;
	assert_null(clients_find(map, &c));
	clients_close(map);
	put("map", "alice sha256:abcd\n", 0600);
	assert_int_equal(clients_open(file("map"), false, &map, &err),
			 -RP_EPARAM);
	put("map", "", 0644);
	assert_int_equal(clients_open(file("map"), false, &map, &err),
			 -RP_EDENIED);
}

static void a_pair_that_does_not_fit_is_refused(void **state)
{
	struct certificate one = {0}, two = {0};
	char cert[128];
	struct err err = {0};
	bool made = false;

	assert_int_equal(certificate_load_or_make(dir, &one, &made, &err), 0);
	assert_true(made);
	assert_int_equal(strlen(one.fingerprint), 95);
	assert_int_equal(unlink(file("tls-cert.pem")), 0);
	assert_int_equal(certificate_load_or_make(dir, &two, &made, &err), 0);
	assert_string_not_equal(one.fingerprint, two.fingerprint);
	put("old.pem", one.pem, 0644);
	certificate_clear(&two);
	(void)strcpy(cert, file("old.pem"));
	assert_int_equal(certificate_load(cert, file("tls-key.pem"), &two,
					  &err),
			 -RP_EPARAM);
	certificate_clear(&one);
}

#define TYPE                                                                   \
	"multipart/encrypted;protocol=\"application/HTTP-SPNEGO-session-"      \
	"encrypted\";boundary=\"Encrypted Boundary\""
#define HEAD                                                                   \
	"--Encrypted Boundary\r\n\tContent-Type: "                             \
	"application/HTTP-SPNEGO-session-encrypted\r\n\tOriginalContent: "     \
	"type=application/soap+xml;charset=UTF-8;Length="
#define MIDDLE                                                                 \
	"\r\n--Encrypted Boundary\r\n\tContent-Type: "                         \
	"application/octet-stream\r\n"
#define LAST "--Encrypted Boundary--\r\n"

static void a_message_in_parts_is_taken_apart(void **state)
{
	static const char body[] = HEAD "7" MIDDLE "\x03\0\0\0"
					"sig"
					"1234567" LAST;
	struct encrypted_parts p;
	struct err err = {0};

	assert_int_equal(encrypted_parse(TYPE, (const uint8_t *)body,
					 sizeof(body) - 1, &p, &err),
			 0);
	assert_int_equal(p.length, 7);
	assert_int_equal(p.signature_bytes, 3);
	assert_int_equal(p.sealed_bytes, 10);
	assert_memory_equal(p.sealed, "sig1234567", 10);
	assert_memory_equal(p.type, "application/soap+xml;charset=UTF-8",
			    p.type_bytes);
	assert_false(p.kerberos);
	/* cut anywhere it is refused, except in front of the last CRLF */
	for (size_t n = 0; n < sizeof(body) - 3; n++)
		assert_int_equal(encrypted_parse(TYPE, (const uint8_t *)body, n,
						 &p, &err),
				 -RP_EWIRE);
}

static void a_message_in_other_parts_is_refused(void **state)
{
	static const struct {
		const char *type, *body;
	} bad[] = {
	    {"multipart/encrypted", HEAD "1" MIDDLE "\x01\1\1\1x" LAST},
	    {"text/plain", HEAD "1" MIDDLE "\x01\1\1\1x" LAST},
	    {TYPE, HEAD "1" MIDDLE "\xff\xff\xff\xffx" LAST},
	    {TYPE, HEAD "-1" MIDDLE "\x01\1\1\1x" LAST},
	    {TYPE, HEAD "" MIDDLE "\x01\1\1\1x" LAST},
	    {TYPE, HEAD "9999999999" MIDDLE "\x01\1\1\1x" LAST},
	    {TYPE, HEAD "1" MIDDLE LAST},
	    {TYPE, "--Encrypted Boundary\r\n" LAST},
	};
	struct encrypted_parts p;
	struct err err = {0};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(encrypted_parse(bad[i].type,
						 (const uint8_t *)bad[i].body,
						 strlen(bad[i].body), &p, &err),
				 -RP_EWIRE);
	assert_false(encrypted_is(NULL));
	assert_false(encrypted_is("multipart/encryptedx"));
}

static void addresses_to_listen_on_are_checked(void **state)
{
	static const char *const bad[] = {
	    "",     ":1",       "127.0.0.1",     "127.0.0.1:", "host:1",
	    "[::1", "::1:5986", "1.2.3.4:99999", "[]:1",       "127.0.0.1:+1"};
	struct err err = {0};
	int fd;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(http_listen(bad[i], false, &fd, &err),
				 -RP_EPARAM);
	assert_int_equal(http_listen("0.0.0.0:0", true, &fd, &err),
			 -RP_EDENIED);
	assert_int_equal(http_listen("127.0.0.1:0", true, &fd, &err), 0);
	(void)close(fd);
}

static int make_dir(void **state)
{
	return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
	static const char *const names[] = {"users", "map", "old.pem",
					    "tls-key.pem", "tls-cert.pem"};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		(void)unlink(file(names[i]));
	return rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(the_zero_value_of_a_principal_is_denied),
	    cmocka_unit_test(base64_is_read_and_written),
	    cmocka_unit_test(
		failures_count_by_name_and_address_and_are_forgotten),
	    cmocka_unit_test(one_name_from_many_addresses_is_limited_too),
	    cmocka_unit_test(a_64_of_ipv6_is_one_address),
	    cmocka_unit_test(a_success_is_remembered_for_a_minute),
	    cmocka_unit_test(users_are_written_and_checked),
	    cmocka_unit_test(certificates_map_to_names),
	    cmocka_unit_test(a_pair_that_does_not_fit_is_refused),
	    cmocka_unit_test(a_message_in_parts_is_taken_apart),
	    cmocka_unit_test(a_message_in_other_parts_is_refused),
	    cmocka_unit_test(addresses_to_listen_on_are_checked),
	};

	return cmocka_run_group_tests(tests, make_dir, remove_dir);
}

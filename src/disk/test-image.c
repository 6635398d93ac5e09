/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#include "common/limits.h"
#include "disk/image.h"
#include "disk/test-dir.h"

static struct test_dir dir;
static struct err err;
static char path[300];

static int set_up(void **state)
{
	memset(&err, 0, sizeof(err));
	if (test_dir_make(&dir, NULL) < 0)
		return -1;
	(void)snprintf(path, sizeof(path), "%s/disk", dir.path);
	return 0;
}

static int tear_down(void **state)
{
	test_dir_remove(&dir);
	return 0;
}

static void make(uint64_t bytes)
{
	int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY, 0600);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)bytes), 0);
	close(fd);
}

static void put(const void *bytes, size_t count, uint64_t offset)
{
	int fd = open(path, O_WRONLY);

	assert_int_equal(pwrite(fd, bytes, count, (off_t)offset), count);
	close(fd);
}

static int attempt(bool force_raw)
{
	struct image_geometry geometry;
	int fd = -1;
	int rc = image_open(path, force_raw, &fd, &geometry, &err);

	if (rc == 0)
		close(fd);
	else
		assert_int_equal(fd, -1);
	return rc;
}

static void assert_refused(const char *why)
{
	assert_int_equal(attempt(true), -RP_EPARAM);
	assert_non_null(strstr(err.text, path));
	if (!strstr(err.text, why))
		fail_msg("'%s' does not say '%s'", err.text, why);
}

static void a_raw_file_is_opened_with_its_size(void **state)
{
	struct image_geometry g = {0}, again = {0};
	char *page = NULL;
	int fd;

	make(MIB(3) + 512);
	assert_int_equal(image_open(path, false, &fd, &g, &err), 0);
	assert_int_equal(g.bytes, MIB(3) + 512);
	assert_int_equal(g.alignment, 512);
	assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
	assert_int_equal(g.direct, (fcntl(fd, F_GETFL) & O_DIRECT) != 0);
	assert_int_equal(image_probe(fd, path, &again, &err), 0);
	assert_memory_equal(&g, &again, sizeof(g));
	/* One sector, wherever it is, can be read and written. */
	assert_int_equal(posix_memalign((void **)&page, 4096, 4096), 0);
	memset(page, 'x', 4096);
	assert_int_equal(pwrite(fd, page + 512, 512, (off_t)MIB(3)), 512);
	assert_int_equal(pread(fd, page + 1024, 512, 512), 512);
	free(page);
	close(fd);
}

static void sizes_that_no_disk_has_are_refused(void **state)
{
	make(0);
	assert_refused("is empty");
	make(513);
	assert_refused("no multiple of 512");
	make(511);
	assert_refused("no multiple of 512");
}

/* ext4 has no files of that size, a tmpfs does. */
static void a_disk_above_the_limit_is_refused(void **state)
{
	struct test_dir shm;

	assert_int_equal(test_dir_make(&shm, "/dev/shm"), 0);
	(void)snprintf(path, sizeof(path), "%s/disk", shm.path);
	make(DISK_BYTES_MAX + 512);
	assert_refused("above the limit");
	make(DISK_BYTES_MAX);
	assert_int_equal(attempt(false), 0);
	test_dir_remove(&shm);
}

static void what_is_no_disk_is_refused(void **state)
{
	(void)snprintf(path, sizeof(path), "%s", dir.path);
	assert_refused("neither a file nor a block device");
	(void)snprintf(path, sizeof(path), "/dev/null");
	assert_refused("neither a file nor a block device");
	(void)snprintf(path, sizeof(path), "%s/fifo", dir.path);
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_refused("neither a file nor a block device");
	(void)snprintf(path, sizeof(path), "%s/missing", dir.path);
	assert_int_equal(attempt(true), -ENOENT);
	assert_non_null(strstr(err.text, path));
}

static void other_formats_are_refused_unless_told_raw(void **state)
{
	static const struct {
		const char *name;
		const char *bytes;
		size_t count;
		uint64_t offset;
	} cases[] = {
	    {"qcow2", "QFI\xfb", 4, 0},
	    {"qed", "QED\0", 4, 0},
	    {"VHDX", "vhdxfile", 8, 0},
	    {"VHD", "conectix", 8, 0},
	    {"VHD", "conectix", 8, MIB(1) - 512},
	    {"VMDK", "KDMV", 4, 0},
	    {"VMDK", "COWD", 4, 0},
	    {"VMDK", "# Disk DescriptorFile", 21, 0},
	    {"VDI", "\x7f\x10\xda\xbe", 4, 64},
	    {"Parallels", "WithoutFreeSpace", 16, 0},
	    {"Parallels", "WithouFreSpacExt", 16, 0},
	    {"LUKS", "LUKS\xba\xbe", 6, 0},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		make(MIB(1));
		assert_int_equal(attempt(false), 0);
		put(cases[i].bytes, cases[i].count, cases[i].offset);
		assert_int_equal(attempt(false), -RP_EPARAM);
		assert_non_null(strstr(err.text, path));
		assert_non_null(strstr(err.text, cases[i].name));
		assert_non_null(strstr(err.text, "--format raw"));
		assert_int_equal(attempt(true), 0);
	}
}

/* A fresh one has an odd size: nobody is to be told to enlarge it. */
static void another_format_is_named_before_a_size_that_is_not_ours(void **state)
{
	make(196616);
	put("QFI\xfb", 4, 0);
	assert_int_equal(attempt(false), -RP_EPARAM);
	assert_non_null(strstr(err.text, "qcow2"));
	assert_int_equal(attempt(true), -RP_EPARAM);
	assert_non_null(strstr(err.text, "no multiple of 512"));
}

static void a_signature_elsewhere_is_the_guests_own(void **state)
{
	make(MIB(1));
	put("QFI\xfb", 4, 512);
	put("conectix", 8, MIB(1) - 504);
	put("QFI\xfa", 4, 0);
	assert_int_equal(attempt(false), 0);
}

static void opening_and_stamping_leave_the_image_as_it_was(void **state)
{
	struct image_stamp a = {0}, b = {0};
	struct image_geometry g;
	struct stat st;
	int fd;

	make(MIB(1));
	assert_int_equal(image_open(path, false, &fd, &g, &err), 0);
	assert_int_equal(image_stamp_read(fd, path, &a, &err), 0);
	close(fd);
	assert_int_equal(image_open(path, false, &fd, &g, &err), 0);
	assert_int_equal(image_lock(fd, path, 0, &err), 0);
	image_unlock(fd);
	assert_int_equal(image_stamp_read(fd, path, &b, &err), 0);
	assert_memory_equal(&a, &b, sizeof(a));
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(a.kind, IMAGE_FILE);
	assert_int_equal(a.bytes, MIB(1));
	assert_int_equal(a.inode, st.st_ino);
	assert_int_equal(a.device, st.st_dev);
	assert_int_equal(a.mtime_ns,
			 st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec);
	assert_true(guid_is_zero(&a.nonce));
	close(fd);
}

/* The kernel's clock for file times moves in ticks. */
static void wait_for_a_tick(void)
{
	struct timespec start, now;

	(void)clock_gettime(CLOCK_REALTIME_COARSE, &start);
	do
		(void)clock_gettime(CLOCK_REALTIME_COARSE, &now);
	while (now.tv_sec == start.tv_sec && now.tv_nsec == start.tv_nsec);
}

static void a_write_by_somebody_else_changes_the_stamp(void **state)
{
	struct image_stamp a = {0}, b = {0};
	struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {0}};
	struct stat st;
	int fd;

	make(MIB(1));
	fd = open(path, O_RDWR);
	assert_int_equal(image_stamp_read(fd, path, &a, &err), 0);
	assert_int_equal(fstat(fd, &st), 0);
	wait_for_a_tick();
	put("x", 1, 0);
	assert_int_equal(image_stamp_read(fd, path, &b, &err), 0);
	assert_true(b.mtime_ns > a.mtime_ns);
	times[1] = st.st_mtim;
	assert_int_equal(futimens(fd, times), 0);
	assert_int_equal(image_stamp_read(fd, path, &b, &err), 0);
	assert_int_equal(b.mtime_ns, a.mtime_ns);
	assert_true(b.ctime_ns > a.ctime_ns);
	close(fd);
}

static void the_nonce_is_kept_by_the_file_and_lost_by_a_copy(void **state)
{
	struct guid nonce = guid_random(), other = guid_random();
	struct image_stamp stamp = {0};
	int fd, rc;

	make(MIB(1));
	fd = open(path, O_RDWR);
	rc = image_nonce_set(fd, &nonce, &err);
	if (rc == -EOPNOTSUPP) {
		close(fd);
		print_message("skipped: no user attributes in %s\n", dir.path);
		skip();
	}
	assert_int_equal(rc, 0);
	assert_int_equal(image_stamp_read(fd, path, &stamp, &err), 0);
	assert_true(guid_equal(&stamp.nonce, &nonce));
	assert_int_equal(image_nonce_set(fd, &other, &err), 0);
	assert_int_equal(image_stamp_read(fd, path, &stamp, &err), 0);
	assert_true(guid_equal(&stamp.nonce, &other));
	assert_int_equal(fsetxattr(fd, "user.refpoint.nonce", "short", 5, 0),
			 0);
	assert_int_equal(image_stamp_read(fd, path, &stamp, &err), 0);
	assert_true(guid_is_zero(&stamp.nonce));
	close(fd);
}

static void one_open_file_excludes_another(void **state)
{
	struct image_geometry g;
	int a, b;

	make(MIB(1));
	assert_int_equal(image_open(path, false, &a, &g, &err), 0);
	assert_int_equal(image_open(path, false, &b, &g, &err), 0);
	assert_int_equal(image_lock(a, path, 0, &err), 0);
	assert_int_equal(image_lock(b, path, 10, &err), -RP_EINUSE);
	assert_non_null(strstr(err.text, path));
	image_unlock(a);
	assert_int_equal(image_lock(b, path, 0, &err), 0);
	assert_int_equal(image_lock(a, path, 0, &err), -RP_EINUSE);
	close(b);
	assert_int_equal(image_lock(a, path, 0, &err), 0);
	close(a);
}

static void a_lock_refused_by_qemus_bytes_holds_nothing(void **state)
{
	static const off_t bytes[] = {100, 101, 102, 103, 200, 201, 202, 203};
	struct image_geometry g;
	int us, they;

	make(MIB(1));
	assert_int_equal(image_open(path, false, &us, &g, &err), 0);
	for (size_t i = 0; i < ARRAY_SIZE(bytes); i++) {
		struct flock lock = {.l_type = F_RDLCK,
				     .l_whence = SEEK_SET,
				     .l_start = bytes[i],
				     .l_len = 1};

		assert_int_equal(image_open(path, false, &they, &g, &err), 0);
		assert_int_equal(fcntl(they, F_OFD_SETLK, &lock), 0);
		assert_int_equal(image_lock(us, path, 0, &err), -RP_EINUSE);
		close(they);
	}
	assert_int_equal(image_lock(us, path, 0, &err), 0);
	close(us);
}

/* A loop device's path in DEVICE, or false where none can be had. */
static bool attach(char device[64])
{
	char command[400];
	FILE *f;
	bool ok;

	if (geteuid() != 0)
		return false;
	(void)snprintf(command, sizeof(command),
		       "losetup --show -f %s 2>/dev/null", path);
	f = popen(command, "re");
	ok = f && fscanf(f, "%63s", device) == 1;
	return f && pclose(f) == 0 && ok;
}

static void a_devices_stamp_counts_writes_and_knows_the_boot(void **state)
{
	struct image_stamp a = {0}, b = {0};
	struct image_geometry g;
	struct guid boot, nonce = guid_random();
	char device[64], command[100], *page = NULL;
	int fd;

	make(MIB(1));
	if (!attach(device)) {
		print_message("skipped: no loop device to be had\n");
		skip();
	}
	assert_int_equal(posix_memalign((void **)&page, 4096, 4096), 0);
	memset(page, 'x', 4096);
	assert_int_equal(image_open(device, false, &fd, &g, &err), 0);
	assert_int_equal(g.bytes, MIB(1));
	assert_int_equal(image_stamp_read(fd, device, &a, &err), 0);
	assert_int_equal(a.kind, IMAGE_BLOCK);
	assert_int_equal(a.bytes, MIB(1));
	assert_int_equal(a.inode, 0);
	assert_int_equal(image_boot_id(&boot, &err), 0);
	assert_true(guid_equal(&a.boot, &boot));
	assert_int_equal(pread(fd, page, 4096, 0), 4096);
	assert_int_equal(image_stamp_read(fd, device, &b, &err), 0);
	assert_memory_equal(&a, &b, sizeof(a));
	assert_int_equal(pwrite(fd, page, 4096, 0), 4096);
	assert_int_equal(fsync(fd), 0);
	assert_int_equal(image_stamp_read(fd, device, &b, &err), 0);
	assert_true(b.writes > a.writes);
	assert_int_equal(b.diskseq, a.diskseq);
	assert_int_equal(image_nonce_set(fd, &nonce, &err), -EOPNOTSUPP);
	free(page);
	close(fd);
	(void)snprintf(command, sizeof(command), "losetup -d %s", device);
	assert_int_equal(system(command), 0);
}

static void
a_device_that_is_claimed_is_refused_and_ours_is_claimed(void **state)
{
	struct image_geometry g;
	char device[64], command[100];
	int ours, theirs;

	make(MIB(1));
	if (!attach(device)) {
		print_message("skipped: no loop device to be had\n");
		skip();
	}
	theirs = open(device, O_RDWR | O_EXCL | O_CLOEXEC);
	assert_true(theirs >= 0);
	assert_int_equal(image_open(device, false, &ours, &g, &err),
			 -RP_EINUSE);
	assert_non_null(strstr(err.text, device));
	close(theirs);
	assert_int_equal(image_open(device, false, &ours, &g, &err), 0);
	assert_int_equal(open(device, O_RDONLY | O_EXCL | O_CLOEXEC), -1);
	assert_int_equal(errno, EBUSY);
	close(ours);
	(void)snprintf(command, sizeof(command), "losetup -d %s", device);
	assert_int_equal(system(command), 0);
}

static void the_boot_is_known(void **state)
{
	struct guid a = {{0}}, b;
	int64_t since = image_boot_time_ns();
	struct timespec now;

	assert_int_equal(image_boot_id(&a, &err), 0);
	assert_int_equal(image_boot_id(&b, &err), 0);
	assert_false(guid_is_zero(&a));
	assert_true(guid_equal(&a, &b));
	(void)clock_gettime(CLOCK_REALTIME, &now);
	assert_true(since > 0 && since < now.tv_sec * 1000000000);
	assert_true(image_boot_time_ns() - since < 1000000000);
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)
	const struct CMUnitTest tests[] = {
	    TEST(a_raw_file_is_opened_with_its_size),
	    TEST(sizes_that_no_disk_has_are_refused),
	    TEST(a_disk_above_the_limit_is_refused),
	    TEST(what_is_no_disk_is_refused),
	    TEST(other_formats_are_refused_unless_told_raw),
	    TEST(another_format_is_named_before_a_size_that_is_not_ours),
	    TEST(a_signature_elsewhere_is_the_guests_own),
	    TEST(opening_and_stamping_leave_the_image_as_it_was),
	    TEST(a_write_by_somebody_else_changes_the_stamp),
	    TEST(the_nonce_is_kept_by_the_file_and_lost_by_a_copy),
	    TEST(one_open_file_excludes_another),
	    TEST(a_lock_refused_by_qemus_bytes_holds_nothing),
	    TEST(a_devices_stamp_counts_writes_and_knows_the_boot),
	    TEST(a_device_that_is_claimed_is_refused_and_ours_is_claimed),
	    TEST(the_boot_is_known),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

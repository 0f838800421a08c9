/* A client of the decoder service in C11 and sockets alone, written from docs/protocol.md.
 *
 *     cc -std=c11 -O2 -o client client.c
 *     ./client qecpipe.sock circuit.stim $(sha256sum < circuit.stim | cut -c 1-64) 5 shots.b8 3
 *
 * opens the circuit with commit = buffer = 5, sends the measurements of shots.b8 (as `stim sample --out_format b8`
 * writes them) in blocks of at most 3 rounds, and prints every COMMIT and RESULT:
 *
 *     RESULT shot=0 upto=6 flips=00 observables=01
 */
#define _POSIX_C_SOURCE 200809L
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { HELLO = 1, OPEN, OPENED, ROUNDS, FINAL, COMMIT, RESULT, CREDIT, NACK, RESET, RELOAD, ERROR_, STATS, PING,
       CLOSE, UPLOAD };
enum { STREAM = 0, PART = 100000 };

typedef struct { uint8_t type; uint16_t flags; uint32_t epoch, length; uint64_t sequence; uint8_t *payload; } frame_t;
typedef struct { uint8_t *data; size_t size; } bytes_t;

static int sock;

static void die(const char *what) { fprintf(stderr, "%s\n", what); exit(1); }

static uint32_t crc32(const uint8_t *data, size_t size) {
    uint32_t crc = ~0u;
    while (size--) {
        crc ^= *data++;
        for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (crc & 1 ? 0xEDB88320u : 0);
    }
    return ~crc;
}

static void put(uint8_t *at, uint64_t value, int bytes) { while (bytes--) *at++ = (uint8_t)value, value >>= 8; }

static uint64_t get(const uint8_t *at, int bytes) {
    uint64_t value = 0;
    while (bytes--) value = value << 8 | at[bytes];
    return value;
}

/* "Frames" */

static void send_all(const uint8_t *data, size_t size) {
    for (ssize_t sent; size > 0; data += sent, size -= (size_t)sent)
        if ((sent = write(sock, data, size)) <= 0) die("the server is gone");
}

static void send_frame(int type, uint32_t epoch, uint64_t sequence, const uint8_t *payload, size_t length) {
    uint8_t head[32] = {'Q', 'D', 2, (uint8_t)type};
    put(head + 4, STREAM, 4), put(head + 8, epoch, 4), put(head + 12, length, 4), put(head + 16, sequence, 8);
    put(head + 24, crc32(payload, length), 4), put(head + 28, 0, 2), put(head + 30, crc32(head, 30), 2);
    send_all(head, sizeof head), send_all(payload, length);
}

static void read_all(uint8_t *data, size_t size) {
    for (ssize_t got; size > 0; data += got, size -= (size_t)got)
        if ((got = read(sock, data, size)) <= 0) die("the server closed the connection");
}

static frame_t read_frame(void) {
    static uint8_t head[32], payload[1 << 18];
    read_all(head, sizeof head);
    frame_t frame = {head[3], (uint16_t)get(head + 28, 2), (uint32_t)get(head + 8, 4), (uint32_t)get(head + 12, 4),
                     get(head + 16, 8), payload};
    if (memcmp(head, "QD\2", 3) || get(head + 30, 2) != (crc32(head, 30) & 0xFFFF)) die("that is no frame");
    if (frame.length > sizeof payload) die("a frame is too long");
    read_all(payload, frame.length);
    if (crc32(payload, frame.length) != get(head + 24, 4)) die("a payload is damaged");
    if (frame.type == ERROR_) die((char *)memcpy(calloc(1, frame.length + 1), payload, frame.length));
    return frame;
}

static frame_t await(int type) {
    for (;;) {
        frame_t frame = read_frame();
        if (frame.type == type) return frame;
    }
}

/* Messages: maps of MessagePack, as far as they are needed. */

static uint8_t *text(uint8_t *at, const char *value) {
    size_t size = strlen(value);
    *at++ = 0xD9, *at++ = (uint8_t)size;
    return (uint8_t *)memcpy(at, value, size) + size;
}

static uint64_t big(const uint8_t *at, int bytes) {
    uint64_t value = 0;
    while (bytes--) value = value << 8 | *at++;
    return value;
}

/* Reads a number (into *value), a text, nil, a boolean, or the size of a list or map; the place after it. */
static const uint8_t *item(const uint8_t *at, uint64_t *value) {
    uint8_t kind = *at++;
    *value = 0;
    if (kind < 0x80) *value = kind;
    else if (kind < 0xA0) *value = kind & 15;
    else if (kind < 0xC0) at += kind & 31;
    else if (kind == 0xD9) at += *at + 1;
    else if (kind >= 0xCC && kind <= 0xCF) *value = big(at, 1 << (kind - 0xCC)), at += 1 << (kind - 0xCC);
    else if (kind == 0xDC) *value = big(at, 2), at += 2;
    else if (kind != 0xC0 && kind != 0xC2 && kind != 0xC3) die("an unexpected message");
    return at;
}

/* What OPENED says of a stream: "Messages", "Shots". */

typedef struct { uint64_t rounds, final_bits, window, runs, run[64][2]; } shape_t;

static shape_t read_opened(const uint8_t *at) {
    shape_t shape = {0};
    uint64_t keys = *at++ & 15, value, ignored;
    for (uint64_t key = 0; key < keys; key++) {
        char name[32] = {0};
        memcpy(name, at + 1, *at & 31);
        at = item(item(at, &ignored), &value);
        if (!strcmp(name, "rounds")) shape.rounds = value;
        else if (!strcmp(name, "final_bits")) shape.final_bits = value;
        else if (!strcmp(name, "window")) shape.window = value;
        else if (!strcmp(name, "layers")) {
            if ((shape.runs = value) > 64) die("too many runs of rounds");
            for (uint64_t k = 0; k < value; k++)
                at = item(item(item(at, &ignored), &shape.run[k][0]), &shape.run[k][1]);
        }
    }
    return shape;
}

static uint64_t bits_of(const shape_t *shape, uint64_t sequence) {
    uint64_t run = 0;
    if (sequence == shape->rounds) return shape->final_bits;
    while (sequence >= shape->run[run][0]) sequence -= shape->run[run++][0];
    return shape->run[run][1];
}

/* Rows [sequence, sequence + count) of a shot whose measurements are packed without gaps. */
static void send_rows(const shape_t *shape, const uint8_t *shot, uint64_t epoch, uint64_t sequence, uint64_t count) {
    static uint8_t block[1 << 16];
    size_t size = 2;
    uint64_t bit = 0;
    memset(block, 0, sizeof block), put(block, count, 2);
    for (uint64_t row = 0; row < sequence + count; row++) {
        uint64_t bits = bits_of(shape, row);
        if (row >= sequence) {
            for (uint64_t k = 0; k < bits; k++)
                block[size + k / 8] |= (uint8_t)((shot[(bit + k) / 8] >> (bit + k) % 8 & 1) << k % 8);
            size += (bits + 7) / 8;
        }
        bit += bits;
    }
    send_frame(sequence + count > shape->rounds ? FINAL : ROUNDS, (uint32_t)epoch, sequence, block, size);
}

static void print_bits(const char *name, const uint8_t *bits, size_t size) {
    printf(" %s=", name);
    for (size_t k = 0; k < size; k++) printf("%02x", bits[k]);
}

static void print_output(const frame_t *frame) {
    size_t size = (get(frame->payload + 40, 4) + 7) / 8;
    printf("%s shot=%u upto=%llu", frame->type == RESULT ? "RESULT" : "COMMIT", frame->epoch,
           (unsigned long long)get(frame->payload, 8));
    print_bits("flips", frame->payload + 44, size);
    if (frame->length > 44 + size) print_bits("observables", frame->payload + 44 + size, size);
    if (frame->flags) printf(" flags=%u", frame->flags);
    printf("\n");
}

static bytes_t read_file(const char *path) {
    FILE *file = fopen(path, "rb");
    if (!file || fseek(file, 0, SEEK_END)) die(path);
    bytes_t read = {malloc((size_t)ftell(file) + 1), (size_t)ftell(file)};
    rewind(file);
    if (fread(read.data, 1, read.size, file) != read.size) die(path);
    fclose(file);
    return read;
}

static void upload(bytes_t model, const char *digest) {
    uint8_t *part = malloc(48 + PART);
    for (int k = 0; k < 32; k++) {
        char pair[3] = {digest[2 * k], digest[2 * k + 1], 0};
        part[k] = (uint8_t)strtoul(pair, NULL, 16);
    }
    put(part + 32, model.size, 8);
    for (size_t at = 0; at < model.size; at += PART) {
        size_t size = model.size - at < PART ? model.size - at : PART;
        put(part + 40, at, 8), memcpy(part + 48, model.data + at, size);
        send_frame(UPLOAD, 0, 0, part, 48 + size);
    }
    free(part), await(UPLOAD);
}

static shape_t open_stream(const char *digest, uint8_t commit) {
    uint8_t message[200] = {0x83}, *at = text(message + 1, "model");
    at = text(text(at, digest), "commit"), *at++ = commit;
    at = text(at, "buffer"), *at++ = commit;
    send_frame(OPEN, 0, 0, message, (size_t)(at - message));
    return read_opened(await(OPENED).payload);
}

int main(int argc, char **argv) {
    if (argc != 7 || strlen(argv[3]) != 64) die("client SOCKET CIRCUIT SHA256 COMMIT SHOTS.b8 ROWS");
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strncpy(address.sun_path, argv[1], sizeof address.sun_path - 1);
    sock = socket(AF_UNIX, SOCK_STREAM, 0);
    if (connect(sock, (struct sockaddr *)&address, sizeof address)) die("no service listens there");

    uint8_t hello[80] = {0x81};
    char session[33];
    uint8_t random[16];
    FILE *source = fopen("/dev/urandom", "rb");
    if (!source || fread(random, 1, 16, source) != 16) die("/dev/urandom");
    for (int k = 0; k < 16; k++) sprintf(session + 2 * k, "%02x", random[k]);
    send_frame(HELLO, 0, 0, hello, (size_t)(text(text(hello + 1, "session"), session) - hello));
    await(HELLO);
    upload(read_file(argv[2]), argv[3]);
    shape_t shape = open_stream(argv[3], (uint8_t)atoi(argv[4]));

    uint64_t shot_bits = shape.final_bits, rows = shape.rounds + 1, most = strtoull(argv[6], NULL, 10);
    for (uint64_t k = 0; k < shape.runs; k++) shot_bits += shape.run[k][0] * shape.run[k][1];
    bytes_t shots = read_file(argv[5]);
    uint64_t shot_bytes = (shot_bits + 7) / 8, total = shots.size / shot_bytes * rows;
    /* Places in the stream: row `sequence` of shot `epoch` is number epoch * rows + sequence. */
    for (uint64_t next = 0, acknowledged = 0; acknowledged < total;) {
        while (next < total && next < acknowledged + shape.window) {
            uint64_t count = rows - next % rows, credit = acknowledged + shape.window - next;
            if (count > most) count = most;
            if (count > credit) count = credit;
            send_rows(&shape, shots.data + next / rows * shot_bytes, next / rows, next % rows, count);
            next += count;
        }
        frame_t frame = read_frame();
        uint64_t place = frame.epoch * rows + frame.sequence;
        if (frame.type == COMMIT || frame.type == RESULT) print_output(&frame);
        if (frame.type == RESULT) acknowledged = (frame.epoch + 1) * rows;
        if (frame.type == CREDIT && place > acknowledged) acknowledged = place;
        for (uint64_t left = frame.type == NACK ? get(frame.payload, 8) : 0; left > 0; left--, place++)
            send_rows(&shape, shots.data + place / rows * shot_bytes, place / rows, place % rows, 1);
    }
    uint8_t close_message[] = {0x80};
    send_frame(CLOSE, 0, 0, close_message, 1);
    await(CLOSE);
    return 0;
}

/* Encodings: Arm Architecture Reference Manual (DDI 0487), "System instructions" (C5), "Barriers",
 * and "Loads and stores" (C4.1). */
#include "a64.h"

#include <stdio.h>
#include <string.h>

#define FIELD(insn, high, low) (((insn) >> (low)) & ((1u << ((high) - (low) + 1)) - 1))

/* TLBI by translation regime (op1) and op2; CRm says which CPUs and whether a range. */
static const char *const EL1[8] = {"vmalle1", "vae1", "aside1", "vaae1", NULL, "vale1", NULL, "vaale1"};
static const char *const EL2[8] = {"alle2", "vae2", NULL, NULL, "alle1", "vale2", "vmalls12e1", NULL};
static const char *const EL3[8] = {"alle3", "vae3", NULL, NULL, NULL, "vale3", NULL, NULL};
static const char *const BY_IPA_OS[8] = {
    "ipas2e1os", "ipas2e1", "ripas2e1", "ripas2e1os", "ipas2le1os", "ipas2le1", "ripas2le1", "ripas2le1os",
};
static const char *const BY_IPA_IS[8] = {
    [1] = "ipas2e1is", [2] = "ripas2e1is", [5] = "ipas2le1is", [6] = "ripas2le1is",
};
static const char *const TLBI_SUFFIX[8] = {[1] = "os", [2] = "is", [3] = "is", [5] = "os", [6] = "", [7] = ""};

static const char *const BARRIER[16] = {
    [1] = "oshld", "oshst", "osh", [5] = "nshld", "nshst", "nsh", [9] = "ishld", "ishst", "ish", [13] = "ld", "st", "sy",
};
static const char *const BARRIER_NXS[4] = {"oshnxs", "nshnxs", "ishnxs", "synxs"};

struct cache_operation {
    unsigned op1, crm, op2;
    const char *text;
    bool operand;
};

/* DC ZVA, GVA and GZVA write memory: they are stores. AT (CRm 8 and 9) maintains nothing. */
static const struct cache_operation CACHE[] = {
    {0, 1, 0, "ic: op=ialluis", false}, {0, 5, 0, "ic: op=iallu", false}, {3, 5, 1, "ic: op=ivau", true},
    {0, 6, 1, "dc: op=ivac", true}, {0, 6, 2, "dc: op=isw", true}, {0, 10, 2, "dc: op=csw", true},
    {0, 14, 2, "dc: op=cisw", true}, {3, 10, 1, "dc: op=cvac", true}, {3, 11, 1, "dc: op=cvau", true},
    {3, 12, 1, "dc: op=cvap", true}, {3, 13, 1, "dc: op=cvadp", true}, {3, 14, 1, "dc: op=civac", true},
};

static void describe_tlbi(uint32_t insn, char *text)
{
    unsigned op1 = FIELD(insn, 18, 16), crn = FIELD(insn, 15, 12), crm = FIELD(insn, 11, 8), op2 = FIELD(insn, 7, 5);
    const char *base = NULL, *range = "", *suffix = "", *nxs = crn == 9 ? "nxs" : "";

    if (op1 == 4 && crm == 0) {
        base = BY_IPA_IS[op2];
    } else if (op1 == 4 && crm == 4) {
        base = BY_IPA_OS[op2];
    } else if (crm < 8 && TLBI_SUFFIX[crm]) {
        base = op1 == 0 ? EL1[op2] : op1 == 4 ? EL2[op2] : op1 == 6 ? EL3[op2] : NULL;
        range = crm == 2 || crm == 5 || crm == 6 ? "r" : "";
        suffix = TLBI_SUFFIX[crm];
    }
    if (base)
        snprintf(text, A64_NAME_BYTES, "tlbi: op=%s%s%s%s", range, base, suffix, nxs);
    else
        snprintf(text, A64_NAME_BYTES, "tlbi: op=s1_%u_c%u_c%u_%u", op1, crn, crm, op2);
}

static bool describe_system(uint32_t insn, char *text, int *rt)
{
    unsigned op1 = FIELD(insn, 18, 16), crn = FIELD(insn, 15, 12), crm = FIELD(insn, 11, 8), op2 = FIELD(insn, 7, 5);

    *rt = (int)FIELD(insn, 4, 0);
    if (crn == 8 || crn == 9) {
        describe_tlbi(insn, text);
        return true;
    }
    if (crn != 7)
        return false;
    for (size_t at = 0; at < sizeof CACHE / sizeof *CACHE; at++) {
        const struct cache_operation *one = &CACHE[at];
        if (one->op1 != op1 || one->crm != crm || one->op2 != op2)
            continue;
        snprintf(text, A64_NAME_BYTES, "%s", one->text);
        if (!one->operand)
            *rt = -1;
        return true;
    }
    return false;
}

bool a64_describe(uint32_t insn, char text[A64_NAME_BYTES], int *rt)
{
    unsigned crm = FIELD(insn, 11, 8);

    *rt = -1;
    if ((insn & 0xfff80000) == 0xd5080000)  /* SYS */
        return describe_system(insn, text, rt);
    if ((insn & 0xfffff0ff) == 0xd503309f && BARRIER[crm]) {  /* others of DSB's are SSBB and PSSBB */
        snprintf(text, A64_NAME_BYTES, "dsb: option=%s", BARRIER[crm]);
        return true;
    }
    if ((insn & 0xfffff3ff) == 0xd503323f) {
        snprintf(text, A64_NAME_BYTES, "dsb: option=%s", BARRIER_NXS[crm >> 2]);
        return true;
    }
    if ((insn & 0xfffff0ff) == 0xd50330df) {
        snprintf(text, A64_NAME_BYTES, "isb: option=%s", crm == 15 ? "sy" : "reserved");
        return true;
    }
    return false;
}

/* All but data processing of general registers; of that, what checks a pointer's signature may. */
bool a64_may_leave(uint32_t insn)
{
    bool immediate = (insn >> 26 & 7) == 4, registers = (insn >> 25 & 7) == 5;
    bool authenticates = (insn & 0xffff0000) == 0xdac10000;

    return !immediate && (!registers || authenticates);
}

static int64_t signed_9(uint32_t insn)
{
    return (int64_t)((int32_t)(insn << 11) >> 23);
}

bool a64_store(uint32_t insn, struct a64_store *store)
{
    *store = (struct a64_store){.base = (int)FIELD(insn, 9, 5), .index = -1, .known = true};
    if ((insn & 0xffc00000) == 0xf9000000) {  /* STR, unsigned offset */
        store->offset = (int64_t)FIELD(insn, 21, 10) * 8;
    } else if ((insn & 0xffe00400) == 0xf8000400) {  /* STR with write-back: after, or before */
        store->offset = FIELD(insn, 11, 11) ? signed_9(insn) : 0;
    } else if ((insn & 0xffe00c00) == 0xf8000000 || (insn & 0xffe00c00) == 0xd9000000) {
        store->offset = signed_9(insn);  /* STUR, STLUR */
    } else if ((insn & 0xffe00c00) == 0xf8200800) {  /* STR, register offset */
        store->index = (int)FIELD(insn, 20, 16);
        store->shift = FIELD(insn, 12, 12) ? 3 : 0;
        store->known = FIELD(insn, 15, 13) == 3;  /* not extended from 32 bits */
    } else if ((insn & 0xff200c00) == 0xf8200000 || (insn & 0xffa07c00) == 0xc8a07c00) {
        ;  /* SWP, LDCLR, ...; CAS */
    } else if ((insn & 0xff600000) == 0xc8000000) {
        ;  /* STXR, STLXR, STLR */
    } else {
        return false;
    }
    return true;
}

# A suite that nothing in the guest records: for boot --plugin. Argument: the suite; std if none.
. /share/lib.sh
facts
truth insn "${1:-std}"

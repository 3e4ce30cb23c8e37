# For scripts that end in tables of numbers: . show.sh; show TABLE
#
# Prints the table's path and its columns, but for intervals and for quartiles of one of
# several means (X_low, X_high, X_p25, X_p50, X_p75), which the file has: a line stays short.
show() {
    printf '%s:\n' "$1"
    awk -F, '
        NR == 1 {
            for (i = 1; i <= NF; i++)
                if ($i !~ /_(low|high|p25|p50|p75)$/) shown[++columns] = i
        }
        {
            for (i = 1; i <= columns; i++) printf "%s%s", $(shown[i]), i < columns ? "," : "\n"
        }' <"$1"
}

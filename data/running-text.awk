# Makes running text, as people write it, of text whose words and marks stand between
# spaces, as in the Brown corpus: awk -f running-text.awk TEXT. A line stays a line.
#
#     `` It's ' safe ' '' , he said ( twice ) -- in 1868 - 70 .
#     "It's 'safe,'" he said (twice) -- in 1868-70.
#
# The corpus neither splits nor changes words: contractions, numbers, hyphens and the
# capitals of titles stay as they are, and only marks are joined. Libraries for this
# (NLTK's TreebankWordDetokenizer, sacremoses) are made for split words. They join
# "can not", too, and miss what is special here: ' , '' , - and / alone, two full stops.
#
# * `` and '' become ". A ' alone opens or closes by what stands around it.
# * Commas and full stops go into closing quotes, as American printers have them; the
#   corpus has all of them outside. So do ? and !, where the quote is a whole saying.
# * '' at the end of a number is an inch mark, which the corpus has twice (1/4'' '').
# * A full stop behind that of an abbreviation, a comma behind a comma: one is written.
# * A - or / alone joins what stands around it, and so does a : between numbers.
# * A dash stays -- and has spaces, but for inside quotes and brackets and before marks.

function is_mark(word) {
    return word ~ /^[,.;:?!]$/
}

# Whether the ' that is word i of the line closes a quote
function closes(i, is_open) {
    return is_open || $(i + 1) == "''" || i > 1 && (i == NF || is_mark($(i + 1)))
}

# Whether the quote that word i of the line opens (0: one before this line) is a whole
# saying, not a word or two of the sentence around it
function is_saying(i) {
    return i <= 1 || $(i - 1) ~ /^(,|:|--|``|')$/
}

# Adds a word to those of the result. side: open or close, of quotes and brackets; mark;
# both, which joins; word
function add(word, side) {
    count++
    words[count] = word
    sides[count] = side
}

function add_closing_quote(word, opened) {
    add(word, "close")
    sayings[count] = is_saying(opened)
}

# Whether a mark goes before word i of the result
function goes_before(i, mark) {
    return sides[i] == "close" && words[i] ~ /^["']$/ && (mark ~ /^[,.]$/ || mark ~ /^[?!]$/ && sayings[i])
}

function add_mark(mark, i) {
    add(mark, "mark")
    for (i = count; i > 1 && goes_before(i - 1, mark); i--) {
        words[i] = words[i - 1]
        sides[i] = sides[i - 1]
        sayings[i] = sayings[i - 1]
        words[i - 1] = mark
        sides[i - 1] = "mark"
    }
}

function is_joint(i) {
    return i > 1 && i < NF && ($i ~ /^[-\/]$/ || $i == ":" && $(i - 1) ~ /^[0-9]+$/ && $(i + 1) ~ /^[0-9]/)
}

function add_field(i, word) {
    word = $i
    if (word == "``") {
        add("\"", "open")
        double = i
    } else if (word == "''") {
        if (i > 1 && $(i - 1) ~ /[0-9]''$/)
            return
        add_closing_quote("\"", double)
        double = 0
    } else if (word == "'" && closes(i, single)) {
        add_closing_quote(word, single)
        single = 0
    } else if (word == "'") {
        add(word, "open")
        single = i
    } else if (word ~ /^[([]$/) {
        add(word, "open")
    } else if (word ~ /^[])]$/) {
        add(word, "close")
    } else if (is_joint(i)) {
        add(word, "both")
    } else if (is_mark(word)) {
        add_mark(word)
    } else {
        sub(/''$/, "\"", word)
        add(word, "word")
    }
}

{
    count = double = single = 0
    for (field = 1; field <= NF; field++)
        add_field(field)
    text = ""
    before = "open"
    for (part = 1; part <= count; part++) {
        if (words[part] ~ /^[,.]$/ && substr(text, length(text)) == words[part])
            continue
        if (before !~ /open|both/ && sides[part] !~ /close|mark|both/)
            text = text " "
        text = text words[part]
        before = sides[part]
    }
    print text
}

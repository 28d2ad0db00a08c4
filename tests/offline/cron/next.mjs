// Reads cases from a file, one JSON a line: {"cron", "zone", "after_ms", "count", "both"}. Prints for each what croner and what
// cron-parser say: {"croner": [ms…], "cron_parser": [ms…]}, or {"error"} in place of a list.
import { readFileSync } from "node:fs";
import { Cron } from "croner";
import { CronExpressionParser } from "cron-parser";

const said = (ask) => {
  try {
    return ask();
  } catch (error) {
    return { error: String(error.message ?? error) };
  }
};

const lines = readFileSync(process.argv[2], "utf8").split("\n").filter(Boolean);
const answers = lines.map((line) => {
  const { cron, zone, after_ms, count, both } = JSON.parse(line);
  const croner = said(() =>
    new Cron(cron, { timezone: zone, paused: true })
      .nextRuns(count, new Date(after_ms))
      .map((date) => date.getTime()),
  );
  // it takes its time
  const cron_parser = !both ? { error: "not asked" } : said(() => {
    const parsed = CronExpressionParser.parse(cron, { tz: zone, currentDate: new Date(after_ms) });
    return Array.from({ length: count }, () => parsed.next().getTime());
  });
  return JSON.stringify({ croner, cron_parser });
});
console.log(answers.join("\n"));

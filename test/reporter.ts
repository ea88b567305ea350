import type { Reporter, TestCase, TestModule } from 'vitest/node';

/**
 * Prints at the end of a run why tests were skipped, what failed, and one line of counts. `.ci/run` reads the lines `failed: FILE > TEST`.
 * They come last, because CI may show only the end of a long log.
 */
export default class CountsReporter implements Reporter {
  onTestRunEnd(modules: readonly TestModule[]): void {
    const tests = modules.flatMap((module) => [...module.children.allTests()]);
    const brokenModules = modules.filter(
      (module) => module.state() === 'failed' && module.errors().length > 0,
    );
    const count = (state: string) => tests.filter((test) => test.result().state === state).length;
    for (const test of tests) {
      if (test.result().state === 'skipped') console.log(`skipped: ${test.fullName}${noteOf(test)}`);
    }
    for (const module of brokenModules)
      console.log(failureLine(module.relativeModuleId, 'the file', module.errors()));
    for (const test of tests) {
      const { state, errors } = test.result();
      if (state === 'failed')
        console.log(failureLine(test.module.relativeModuleId, test.fullName, errors ?? []));
    }
    console.log(
      `${count('passed')} passed, ${count('failed') + brokenModules.length} failed, ${count('skipped')} skipped`,
    );
  }
}

/** Tests that are skipped before they run have the reason in their name. */
function noteOf(test: TestCase): string {
  const result = test.result();
  return result.state === 'skipped' && result.note !== undefined ? `: ${result.note}` : '';
}

function failureLine(file: string, name: string, errors: readonly { message: string }[]): string {
  const [firstLine = ''] = (errors[0]?.message ?? '').split('\n');
  return `failed: ${file} > ${name}: ${firstLine.slice(0, 300)}`;
}

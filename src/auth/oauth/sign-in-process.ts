// The program of the process that has the user sign in.
import { performSignIn } from './perform-sign-in.ts';
import { runSignInHelper } from './sign-in-helper.ts';

void runSignInHelper(performSignIn);
